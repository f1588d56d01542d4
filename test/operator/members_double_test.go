//go:build integration

package operator_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/datadir"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// site is a node whose etcd is started, set aside and refused by the guard's real decision, and whose membership is
// changed by the agent's real code. Only the kubelet and the container are missing.
type site struct {
	*double
	clusterID func() string
	others    func() []*site

	off     bool // the machine has no power
	decided guard.Decision
	runs    bool
	archive int
}

// newSite brings a machine up that is to join.
func (w *world) newSite(t *testing.T, n int, clusterID func() string, others func() []*site) *site {
	t.Helper()
	h := w.newHost(t, "cp-"+strconv.Itoa(n), "10.99.0."+strconv.Itoa(10+n))
	must(t, node.Save(h.paths, h.config()))
	_, err := pki.EnsureAgent(h.paths, h.name, h.address, time.Now())
	must(t, err)
	return &site{double: &double{host: h}, clusterID: clusterID, others: others}
}

// boot lets the guard decide again and again, and the agent answer.
func (s *site) boot(t *testing.T) {
	t.Helper()
	s.serveAs(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.guard(ctx, t)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (s *site) guard(ctx context.Context, t *testing.T) {
	s.mu.Lock()
	busy := s.off || s.etcd.Running()
	s.runs = s.etcd.Running()
	s.mu.Unlock()
	if busy {
		return
	}
	in := guard.Input{
		Self: guard.Self{Name: s.name, PeerURL: s.etcd.PeerURL}, Recorded: guard.Recorded{Known: true, Epoch: 1, ClusterID: s.clusterID()},
		Peers: s.peers(ctx),
	}
	id, err := datadir.Inspect(ctx, s.etcd.DataDir, datadir.InspectOptions{})
	if err != nil {
		return
	}
	in.Local = guard.Local{State: guard.LocalState(id.State), Why: id.Why}
	if id.ClusterID != 0 {
		in.Local.ClusterID, in.Local.MemberID = node.FormatID(id.ClusterID), node.FormatID(id.MemberID)
		in.Local.EpochKnown, in.Local.Epoch = in.Local.ClusterID == s.clusterID(), 1
	}
	d := guard.Decide(in)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return
	}
	s.decided = d
	s.etcd.Kill(t) // one that has ended by itself, as a removed member does
	switch {
	case d.Archive:
		s.archive++
		_ = os.Rename(s.etcd.DataDir, filepath.Join(s.paths.Root, "archive-"+strconv.Itoa(s.archive)))
	case d.Runs() && d.InitialCluster != "":
		s.etcd.Start(t, "--initial-cluster="+d.InitialCluster, "--initial-cluster-state="+d.InitialClusterState)
	case d.Runs():
		s.etcd.Start(t)
	}
}

// peers asks the other machines' etcds, as the guard does.
func (s *site) peers(ctx context.Context) guard.Peers {
	var out guard.Peers
	tls, err := etcdclient.HealthcheckTLS(s.paths.EtcdPKI())
	if err != nil {
		return out
	}
	for _, o := range s.others() {
		if o == s {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		m, err := etcdclient.Ask(ctx, o.clientURL(), tls)
		cancel()
		if err != nil || out.Reachable && !m.Linearizable {
			continue
		}
		out = guard.Peers{Reachable: true, ClusterID: node.FormatID(m.ClusterID), EpochKnown: true, Epoch: 1, Linearizable: m.Linearizable}
		for _, x := range m.Members {
			out.Members = append(out.Members, guard.Member{ID: node.FormatID(x.ID), Name: x.Name, PeerURLs: x.PeerURLs, ClientURLs: x.ClientURLs, IsLearner: x.Learner, Started: x.Name != ""})
		}
		if out.Linearizable {
			break
		}
	}
	return out
}

func (s *site) clientURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.etcd.ClientURL
}

// Inspect adds what the guard and the data dir say to what the double knows.
func (s *site) Inspect(ctx context.Context, req *agentpb.InspectRequest) (*agentpb.NodeState, error) {
	ns, err := s.double.Inspect(ctx, req)
	if err != nil {
		return nil, err
	}
	id, err := datadir.Inspect(ctx, s.etcd.DataDir, datadir.InspectOptions{})
	ns.DataDir = &agentpb.DataDir{State: string(id.State), Why: id.Why}
	if err != nil {
		ns.DataDir.State = "unknown"
	}
	if id.ClusterID != 0 {
		ns.DataDir.ClusterId, ns.DataDir.MemberId = node.FormatID(id.ClusterID), node.FormatID(id.MemberID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ns.Guard = &agentpb.Guard{Installed: true, State: "running"}
	if !s.runs {
		ns.Guard.Needs, ns.Guard.Reason = string(s.decided.Needs), s.decided.Reason
		ns.Guard.State = map[guard.Answer]string{guard.Wait: "waiting", guard.Refuse: "refused"}[s.decided.Answer]
	}
	return ns, nil
}

// ChangeMembers is the agent's own code, on this machine's etcd.
func (s *site) ChangeMembers(ctx context.Context, req *agentpb.ChangeMembersRequest) (*agentpb.ChangeMembersReply, error) {
	tls, err := etcdclient.HealthcheckTLS(s.paths.EtcdPKI())
	if err != nil {
		return nil, err
	}
	c, err := etcdclient.Dial([]string{s.clientURL()}, tls)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return agent.ChangeMembersAt(ctx, c, s.clientURL(), req, func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.recovery.GetId()
	})
}

// powerOff ends etcd and the agent at once.
func (s *site) powerOff(t *testing.T) {
	t.Helper()
	s.halt(t)
	s.server.Stop()
}

// halt ends etcd, and keeps the guard from starting it again until resume.
func (s *site) halt(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = true
	s.etcd.Kill(t)
}

func (s *site) resume() { s.set(func() { s.off = false }) }

// members are listed by a quorum through any of the machines; voters as names, learners with a question mark.
func listMembers(t *testing.T, sites []*site) ([]etcdclient.Member, string) {
	t.Helper()
	for _, s := range sites {
		tls, err := etcdclient.HealthcheckTLS(s.paths.EtcdPKI())
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		m, err := etcdclient.Ask(ctx, s.clientURL(), tls)
		cancel()
		if err != nil || !m.Linearizable {
			continue
		}
		var names []string
		for i := range 8 {
			for _, x := range m.Members {
				if x.Name == "cp-"+strconv.Itoa(i) {
					names = append(names, x.Name+map[bool]string{true: "?", false: ""}[x.Learner])
				}
			}
		}
		for _, x := range m.Members {
			if x.Name == "" {
				names = append(names, "+")
			}
		}
		return m.Members, strings.Join(names, " ")
	}
	return nil, "no quorum answers"
}

func waitMembers(t *testing.T, sites []*site, want string) []etcdclient.Member {
	t.Helper()
	var ms []etcdclient.Member
	etcdtest.Eventually(t, "the members to be "+want, func() (bool, string) {
		var got string
		ms, got = listMembers(t, sites)
		return got == want, got
	})
	return ms
}

func idOf(ms []etcdclient.Member, name string) uint64 {
	for _, m := range ms {
		if m.Name == name {
			return m.ID
		}
	}
	return 0
}
