package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/kubelet"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/recovery/engine"
	"clusteretcd.io/ceo/internal/staticpod"
)

// inspectLimit bounds the whole look at a node; each part has less.
const inspectLimit = 3 * time.Second

// Inspect implements agentpb.AgentServer. Its parts run side by side, so that
// one that hangs costs its own limit only (P21).
func (a *Agent) Inspect(ctx context.Context, req *agentpb.InspectRequest) (*agentpb.NodeState, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	c := a.Config()
	ns := &agentpb.NodeState{
		Name: c.Name, Address: c.Address, PeerUrl: c.PeerURL, ClientUrl: c.ClientURL, CeoVersion: a.version,
		At: timestamppb.Now(), Lineage: lineageToPB(c.Lineage), Peers: peersToPB(c.Peers), ServedRevision: a.served().Revision,
		Recovery: a.recover.current(), EtcdVersion: c.EtcdVersion, LineageConflict: a.lineageConflict(),
		Settings: a.settings(),
	}
	if h, err := durable.ReadJSON[node.Hold](a.paths.Hold()); err == nil {
		ns.HoldId, ns.HoldReason = h.ID, h.Reason
	}
	parts := []func(){
		func() { ns.DataDir = a.dataDir(ctx) },
		func() { ns.Guard = a.guardState(ctx) },
		func() { ns.Revisions = a.revisions(ctx) },
		func() {
			ns.Etcd = a.etcd.state(ctx)
			metrics(ctx, a.etcd.metrics, ns.Etcd)
		},
	}
	if !req.GetQuick() {
		parts = append(parts,
			func() { ns.Containers, ns.ContainersError = a.containers(ctx) },
			func() { ns.ApiServer = a.apiServer(ctx) },
			func() { ns.Kubelet = kubeletState(ctx) },
			func() { ns.Manifests = a.manifests() },
			func() { ns.Certificates, ns.CertificatesError = a.certificates() },
			func() { ns.Disk = a.disk() },
			func() { ns.Ca = a.caState(ctx) },
			func() { ns.Archive = a.archive() },
		)
	}
	var wg sync.WaitGroup
	for _, f := range parts {
		wg.Go(f)
	}
	wg.Wait()
	return ns, nil
}

func (a *Agent) dataDir(ctx context.Context) *agentpb.DataDir {
	dir := a.Config().DataDir
	id, err := datadir.Inspect(ctx, dir, datadir.InspectOptions{})
	if err != nil {
		return &agentpb.DataDir{Path: dir, State: "unknown", Why: err.Error()}
	}
	out := &agentpb.DataDir{Path: dir, State: string(id.State), Why: id.Why, Revision: id.Revision, Term: id.Term, CommitIndex: id.CommitIndex, DbSize: id.DBSize}
	if id.ClusterID != 0 {
		out.ClusterId, out.MemberId = node.FormatID(id.ClusterID), node.FormatID(id.MemberID)
	}
	for _, m := range id.Members {
		out.Members = append(out.Members, &agentpb.Member{Id: node.FormatID(m.ID), Name: m.Name, PeerUrls: m.PeerURLs, Learner: m.IsLearner})
	}
	return out
}

func (a *Agent) guardState(ctx context.Context) *agentpb.Guard {
	g := &agentpb.Guard{Installed: a.guarded()}
	st, err := guard.Dial(a.paths).Status(ctx)
	if err != nil {
		g.Error = err.Error()
		if st, err = durable.ReadJSON[guard.Status](a.paths.GuardStatus()); err != nil {
			return g
		}
		st.State, st.Decision.Needs = "", "" // an old word asks for nothing (I23)
	}
	g.State, g.Answer, g.Reason = string(st.State), string(st.Decision.Answer), st.Decision.Reason
	g.DecidedAt, g.Needs = timestamppb.New(st.Decision.At), string(st.Decision.Needs)
	return g
}

// guarded says whether etcd's manifest on this node has the guard, in service
// or out of it.
func (a *Agent) guarded() bool {
	for _, dir := range []string{a.paths.Manifests(), a.paths.Stopped()} {
		raw, err := os.ReadFile(filepath.Join(dir, staticpod.EtcdFile)) //nolint:gosec // fixed names
		if err != nil {
			continue
		}
		if pod, err := staticpod.Parse(raw); err == nil {
			return staticpod.IsGuarded(pod)
		}
	}
	return false
}

func (a *Agent) containers(ctx context.Context) ([]*agentpb.Container, string) {
	cs, err := a.cri.List(ctx)
	if err != nil {
		return nil, err.Error()
	}
	var out []*agentpb.Container
	for _, c := range cs {
		out = append(out, &agentpb.Container{Id: c.ID, Pod: c.Pod, Name: c.Name, State: c.State, Image: c.Image})
	}
	return out, ""
}

func (a *Agent) manifests() []*agentpb.Manifest {
	var out []*agentpb.Manifest
	for _, n := range append([]string{"etcd", staticpod.AgentName}, engine.Components...) {
		m := &agentpb.Manifest{Name: n, State: "absent"}
		if exists(filepath.Join(a.paths.Manifests(), n+".yaml")) {
			m.State = "in-service"
		} else if exists(filepath.Join(a.paths.Stopped(), n+".yaml")) {
			m.State = "stopped"
		}
		out = append(out, m)
	}
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (a *Agent) disk() *agentpb.Disk {
	free, total, err := datadir.Space(a.Config().DataDir)
	if err != nil {
		return &agentpb.Disk{Error: err.Error()}
	}
	return &agentpb.Disk{Free: free, Total: total}
}

func (a *Agent) archive() []*agentpb.ArchiveEntry {
	es, err := datadir.ListArchive(a.Config().DataDir)
	if err != nil {
		a.log.Warn("list the archive", "error", err)
	}
	var out []*agentpb.ArchiveEntry
	for _, e := range es {
		if e.Held {
			out = append(out, archiveToPB(e))
		}
	}
	return out
}

func archiveToPB(e datadir.Entry) *agentpb.ArchiveEntry {
	return &agentpb.ArchiveEntry{Id: e.ID, Reason: e.Reason, ClusterId: node.FormatID(e.Identity.ClusterID), At: timestamppb.New(e.At), Path: e.Path}
}

func kubeletState(ctx context.Context) *agentpb.KubeletState {
	s, err := kubelet.State(ctx)
	if err != nil {
		return &agentpb.KubeletState{State: "unknown", Error: err.Error()}
	}
	return &agentpb.KubeletState{State: s}
}

// apiServer asks this node's own kube-apiserver, which lets everybody read
// /readyz, and answers there only when its etcd does.
func (a *Agent) apiServer(ctx context.Context) *agentpb.APIServer {
	if err := a.apiReady(ctx); err != nil {
		return &agentpb.APIServer{Error: err.Error()}
	}
	return &agentpb.APIServer{Ready: true}
}

func (a *Agent) apiReady(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	raw, err := os.ReadFile(filepath.Join(a.paths.KubernetesPKI(), "ca.crt"))
	if err != nil {
		return fmt.Errorf("cluster CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return errors.New("cluster CA: no certificate in the file")
	}
	// One connection a look: it is rare, and must not survive the apiserver.
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "kubernetes", MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort("127.0.0.1", "6443")+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 512))
	if err != nil {
		return err
	}
	return fmt.Errorf("readyz answers %s: %s", res.Status, strings.TrimSpace(string(body)))
}

// Observe implements agentpb.AgentServer.
func (a *Agent) Observe(ctx context.Context, _ *agentpb.ObserveRequest) (*agentpb.Observation, error) {
	c := a.Config()
	own, err := a.Inspect(ctx, &agentpb.InspectRequest{})
	if err != nil {
		return nil, err
	}
	out := &agentpb.Observation{ClusterName: c.ClusterName, Coordinator: c.Name, At: timestamppb.Now(), Nodes: make([]*agentpb.NodeState, len(c.Peers)+1)}
	out.Nodes[0] = own
	var wg sync.WaitGroup
	for i, p := range c.Peers {
		wg.Go(func() { out.Nodes[i+1] = a.inspectPeer(ctx, p) })
	}
	wg.Wait()
	return out, nil
}
