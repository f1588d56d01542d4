package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cri"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

// Limits of a change of the list.
const (
	serverLimit = 3 * time.Second // one look at one server
	// noticed is what the kubelet gets to see a manifest that was renamed into place; it is told by the file system.
	noticed = time.Second
	// serversGrace is what a kube-apiserver gets to end in good order; by itself it takes the kubelet's 30 s.
	serversGrace = 5 * time.Second
)

// PlaceEtcdServers implements agentpb.AgentServer. A list that is there is a success, so that a call whose answer was lost
// is made again.
func (a *Agent) PlaceEtcdServers(ctx context.Context, req *agentpb.PlaceEtcdServersRequest) (*agentpb.PlaceEtcdServersReply, error) {
	if err := staticpod.CheckServers(req.GetServers()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if req.GetClusterId() == "" {
		return nil, status.Error(codes.InvalidArgument, "the cluster that the list is of has to be named")
	}
	a.act.Lock()
	defer a.act.Unlock()
	if why := decidePlacing(a.placing(req.GetClusterId())); why != "" {
		return nil, status.Error(codes.FailedPrecondition, why)
	}
	have, err := a.liveServers()
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	if slices.Equal(have, req.GetServers()) {
		return &agentpb.PlaceEtcdServersReply{}, nil
	}
	if !slices.Equal(have, req.GetWas()) {
		return nil, status.Errorf(codes.FailedPrecondition, "kube-apiserver's list here is %s by now, and the change was decided on %s", strings.Join(have, ","), strings.Join(req.GetWas(), ","))
	}
	if why := decideServers(a.askServers(ctx, req.GetServers()), have, req.GetServers(), req.GetClusterId()); why != "" {
		return nil, status.Error(codes.FailedPrecondition, why)
	}
	cs, err := a.cri.List(ctx)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "which kube-apiserver runs is not known: %v", err)
	}
	pods, err := a.cri.Annotation(ctx, "kube-apiserver", podHash)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "which kube-apiserver runs is not known: %v", err)
	}
	place := func(context.Context) error {
		_, err := staticpod.PlaceServers(a.paths, a.paths.Manifests(), req.GetServers(), slices.DeleteFunc(pods, func(h string) bool { return h == "" }))
		return err
	}
	switch err := a.serversUnderLock(ctx, req, place); {
	case errors.Is(err, errMustNot):
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		return nil, toStatus(err)
	}
	a.log.Info("kube-apiserver's --etcd-servers is placed", "servers", req.GetServers(), "was", have, "reason", req.GetReason())
	a.hastenAPIServer(ctx, cri.RunningStatic(cs, "kube-apiserver"))
	return &agentpb.PlaceEtcdServersReply{Changed: true}, nil
}

func (a *Agent) liveServers() ([]string, error) {
	raw, err := os.ReadFile(a.paths.Manifests() + "/" + staticpod.APIServerFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("kube-apiserver is not in service on this node: there is no list to change")
	}
	if err != nil {
		return nil, err
	}
	return staticpod.EtcdServers(raw)
}

// serversUnderLock places while nobody else restarts a member or an API server, by the cluster's one lock, and after a look
// at the others: two operators, each with a look of before the other's change, must not take two API servers away.
func (a *Agent) serversUnderLock(ctx context.Context, req *agentpb.PlaceEtcdServersRequest, place func(context.Context) error) error {
	who := fmt.Sprintf("a restart of kube-apiserver on %s with other --etcd-servers", a.Config().Name)
	checked := func(ctx context.Context, c *etcdclient.Client) error {
		asked, cancel := context.WithTimeout(ctx, try)
		m, err := c.Members(asked)
		cancel()
		if err != nil {
			return fmt.Errorf("list the members: %w", err)
		}
		if id := node.FormatID(m.ClusterID); id != req.GetClusterId() {
			return fmt.Errorf("%w: the cluster that serves is %s, and the list is of %s", errMustNot, id, req.GetClusterId())
		}
		if why := mayRestartAPIServer(a.apiReady(ctx) == nil, a.fullStates(ctx)); why != "" {
			return fmt.Errorf("%w: %s", errMustNot, why)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the look at the other nodes took longer than the lock lasts: nothing was changed: %w", err)
		}
		return place(ctx)
	}
	if serves(a.etcd.state(ctx)) {
		return a.underLock(ctx, who, false, checked)
	}
	c, err := a.dialOthers()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return c.UnderLock(ctx, etcdclient.Locked{Who: who, Wait: lockWait}, func(ctx context.Context) error { return checked(ctx, c) })
}

// fullStates asks the peers for everything, as an API server is not in the quick look.
func (a *Agent) fullStates(ctx context.Context) []*agentpb.NodeState {
	ctx, cancel := context.WithTimeout(ctx, stateLimit)
	defer cancel()
	peers := a.Config().Peers
	out := make([]*agentpb.NodeState, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			ag, err := a.pool.Agent(p.Address)
			if err != nil {
				return
			}
			if s, err := ag.Inspect(ctx, &agentpb.InspectRequest{}); err == nil && s.GetName() == p.Name {
				out[i] = s
			}
		})
	}
	wg.Wait()
	return out
}

// mayRestartAPIServer says why this node's kube-apiserver is not to be restarted now; "" if it may be. peers are nil where
// they do not answer: unknown is neither dead nor ready (I23). ready: this one serves, so that a restart takes something away.
func mayRestartAPIServer(ready bool, peers []*agentpb.NodeState) string {
	others := 0
	for _, s := range peers {
		if r := s.GetRecovery(); r.GetId() != "" {
			return fmt.Sprintf("recovery %s is open on %s (P17)", r.GetId(), s.GetName())
		}
		in := slices.ContainsFunc(s.GetManifests(), func(m *agentpb.Manifest) bool {
			return m.GetName() == "kube-apiserver" && m.GetState() == "in-service"
		})
		switch api := s.GetApiServer(); {
		case !in:
		case api.GetEtcd().GetRestarting():
			return "kube-apiserver on " + s.GetName() + " is being restarted"
		case api.GetReady():
			others++
		case ready:
			return "kube-apiserver on " + s.GetName() + " has to be ready first"
		}
	}
	if ready && others == 0 && len(peers) > 0 {
		return "no other kube-apiserver is seen to be ready: the last one stays"
	}
	return ""
}

// answer of one server.
type serverAnswer struct {
	cluster string
	quorum  bool
	err     error
}

// askServers asks each as kube-apiserver does, with its certificate: a name that a server's certificate lacks is found here.
func (a *Agent) askServers(ctx context.Context, servers []string) []serverAnswer {
	ctx, cancel := context.WithTimeout(ctx, serverLimit)
	defer cancel()
	out := make([]serverAnswer, len(servers))
	config, err := apiServerTLS(pki.LeafFiles(a.paths, "apiserver-etcd-client"))
	var wg sync.WaitGroup
	for i, s := range servers {
		if err != nil {
			out[i].err = err
			continue
		}
		wg.Go(func() {
			m, err := etcdclient.Ask(ctx, s, config)
			out[i] = serverAnswer{node.FormatID(m.ClusterID), m.Linearizable, err}
		})
	}
	wg.Wait()
	return out
}

func apiServerTLS(f pki.Files) (*tls.Config, error) {
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("etcd's CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("etcd's CA: no certificate in %s", f.CA)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("kube-apiserver's client certificate: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// decideServers says why a list must not be placed; "" if it may be. It is pure. None may be of another cluster: that is
// not seen by kube-apiserver (I3). The first has to serve, and so does one that was not there before. One that was there
// and is silent stays: it may be down for a moment (I23).
func decideServers(answers []serverAnswer, was, servers []string, cluster string) string {
	for i, s := range servers {
		x := answers[i]
		switch {
		case x.err == nil && x.cluster != cluster:
			return fmt.Sprintf("%s serves cluster %s, and the list is of %s: kube-apiserver would read both", s, x.cluster, cluster)
		case x.err != nil && i == 0:
			return fmt.Sprintf("%s would be the first, and does not answer: %v", s, x.err)
		case i == 0 && !x.quorum:
			return fmt.Sprintf("%s would be the first, and has no quorum", s)
		case x.err != nil && !slices.Contains(was, s):
			return fmt.Sprintf("%s would be new, and does not answer: %v", s, x.err)
		}
	}
	return ""
}

// hastenAPIServer ends the containers of before once the kubelet has seen the manifest: it would give them half a minute,
// and nothing is in them that is not in etcd. That they do not end costs time, and nothing else.
func (a *Agent) hastenAPIServer(ctx context.Context, before []cri.Container) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freeLimit)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-time.After(noticed):
	}
	var ids []string
	for _, c := range before {
		ids = append(ids, c.ID)
	}
	if err := a.cri.StopThese(ctx, ids, serversGrace); err != nil {
		a.log.Warn("the former kube-apiserver was not ended: the kubelet takes half a minute for it", "error", err)
	}
}
