package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// RotateCA implements agentpb.AgentServer. The steps of the files restart nothing:
// what has to be restarted is in the state that they answer with, and is asked for
// by a step of its own.
func (a *Agent) RotateCA(ctx context.Context, req *agentpb.RotateCARequest) (*agentpb.RotateCAReply, error) {
	if step := req.GetStep(); step == stepRestartEtcd || step == stepRestartAPIServer {
		if err := a.restartForCA(ctx, req); err != nil {
			return nil, err
		}
		return &agentpb.RotateCAReply{State: a.caState(ctx)}, nil
	}
	a.pkiFiles.Lock()
	defer a.pkiFiles.Unlock()
	var err error
	switch req.GetStep() {
	case "trust":
		if len(req.GetKey()) == 0 {
			err = pki.TrustKnownCA(a.paths, req.GetFingerprint(), req.GetReason())
		} else {
			err = pki.TrustCA(a.paths, pki.Pair{Cert: req.GetCertificate(), Key: req.GetKey()}, req.GetReason())
		}
	case "sign":
		if err = pki.SignWithCA(a.paths, req.GetFingerprint()); err == nil {
			// All at once: what is left over is tried again as any renewal is.
			renewCertificates(Options{Paths: a.paths, Log: a.log}, a.Config(), a.life(), nil)
		}
	case "forget":
		err = pki.ForgetCA(a.paths, req.GetFingerprint())
	default:
		return nil, status.Errorf(codes.InvalidArgument, "no step %q of a change of the CA: the steps are trust, sign, forget, restart-etcd and restart-apiserver", req.GetStep())
	}
	if errors.Is(err, pki.ErrOutOfOrder) {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	a.log.Info("etcd's CA", "step", req.GetStep(), "ca", req.GetFingerprint(), "reason", req.GetReason())
	// The operator's copy follows the bundle at once, too.
	renewCertificates(Options{Paths: a.paths, Log: a.log}, a.Config(), a.life(), nil)
	return &agentpb.RotateCAReply{State: a.caState(ctx)}, nil
}

// caState is nil on a node where no change was ever begun: there is nothing to
// say, and etcd is not asked for nothing.
func (a *Agent) caState(ctx context.Context) *agentpb.CAState {
	s, err := pki.ReadCAState(a.paths)
	if err != nil {
		if _, missing := os.Stat(a.paths.EtcdCAs()); errors.Is(missing, fs.ErrNotExist) {
			return nil
		}
		return &agentpb.CAState{Error: err.Error()}
	}
	if s.Target == "" {
		return nil
	}
	out := &agentpb.CAState{Signing: s.Signing, Target: s.Target, Reason: s.Reason}
	for _, c := range s.Trusted {
		out.Trusted = append(out.Trusted, pki.Fingerprint(c))
	}
	for _, l := range s.Leaves {
		out.LeavesSignedBy, out.LeafNames = append(out.LeavesSignedBy, l.SignedBy), append(out.LeafNames, l.Name)
	}
	if info, err := os.Stat(filepath.Join(a.paths.EtcdPKI(), "ca.crt")); err == nil {
		out.Since = timestamppb.New(info.ModTime())
	}
	if out.EtcdTrusts, err = a.etcdTrusts(ctx, s.Trusted); err != nil {
		out.EtcdError = err.Error()
	}
	if out.ApiServerStale, err = a.apiServerStale(ctx, out.GetTrusted()); err != nil {
		out.ApiServerError = err.Error()
	}
	return out
}

// etcdTrusts asks the etcd that runs here whom it trusts, on both of its
// ports: a server names its CAs to whoever it asks for a certificate.
func (a *Agent) etcdTrusts(ctx context.Context, known []*x509.Certificate) ([]string, error) {
	kept, err := pki.KeptCAs(a.paths)
	if err != nil {
		return nil, err
	}
	known = append(slices.Clone(known), kept...)
	var out []string
	for i, port := range []struct{ url, pair string }{{ownURL(localClientURL, a.own), "etcd/healthcheck-client"}, {a.Config().PeerURL, "etcd/peer"}} {
		trusts, err := pki.AskTrust(ctx, port.url, pki.LeafFiles(a.paths, port.pair), known)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			out = trusts
			continue
		}
		// What one of the two does not trust does not count.
		out = slices.DeleteFunc(out, func(ca string) bool { return !slices.Contains(trusts, ca) })
	}
	return out, nil
}

// loaded is loaded.json: which containers of kube-apiserver were there when the
// bundle got the CAs that it has now. They may have read it before. Container
// ids, no times: clocks are set.
type loaded struct {
	Trusted    []string `json:"trusted"`
	Containers []string `json:"containers"`
}

func (a *Agent) apiServerStale(ctx context.Context, trusted []string) (bool, error) {
	a.loaded.Lock()
	defer a.loaded.Unlock()
	cs, err := a.cri.List(ctx)
	if err != nil {
		return false, err
	}
	var ids []string
	for _, c := range cri.RunningStatic(cs, "kube-apiserver") {
		ids = append(ids, c.ID)
	}
	return staleContainers(a.paths, trusted, ids)
}

// staleContainers reports whether one of the containers that run was there
// when the set of CAs changed. A set that is seen for the first time counts as
// changed just now, so that whoever crashed before it was noted errs on the
// side of a restart.
func staleContainers(p node.Paths, trusted, running []string) (bool, error) {
	path := filepath.Join(p.EtcdCAs(), "loaded.json")
	set := slices.Sorted(slices.Values(trusted))
	l, err := durable.ReadJSON[loaded](path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err != nil || !slices.Equal(l.Trusted, set) {
		l = loaded{Trusted: set, Containers: running}
		if err := durable.WriteJSON(path, l, 0o600); err != nil {
			return false, err
		}
	}
	return slices.ContainsFunc(running, func(id string) bool { return slices.Contains(l.Containers, id) }), nil
}
