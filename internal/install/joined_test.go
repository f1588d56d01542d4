package install

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/node"
)

func joinedNode() JoinFacts {
	peer := node.Peer{Name: "boot", Address: "192.0.2.10", PeerURL: "https://192.0.2.10:2380", ClientURL: "https://192.0.2.10:2379"}
	return JoinFacts{
		Node: "cp-2", Image: "ceo:1", APIServer: true, Servers: []string{"https://127.0.0.1:2379", "https://192.0.2.10:2379"}, Address: "192.0.2.12",
		CA: true, ImagePresent: true, Asked: true, ClusterID: "c1", Members: []node.Peer{peer},
		Agents: []JoinAgent{{Name: "boot", ClusterID: "c1", ClusterName: "prod", Image: "registry.k8s.io/etcd:3.7.0-0", Version: "3.7.0"}},
	}
}

func TestDecideJoin(t *testing.T) {
	for _, c := range []struct {
		name  string
		given func(*JoinFacts)
		want  JoinVerb
		says  string
	}{
		{"joined", func(*JoinFacts) {}, JoinRender, "cp-2"},
		{"nobody was asked yet", func(f *JoinFacts) { f.Asked, f.ClusterID, f.Members, f.Agents = false, "", nil, nil }, JoinAsk, ""},
		{"I20: etcd is there", func(f *JoinFacts) { f.Placed = true }, JoinNothing, "in place"},
		{"P17: a recovery took it out of service", func(f *JoinFacts) { f.Stopped = true }, JoinNothing, "recovery"},
		{"no control plane here", func(f *JoinFacts) { f.APIServer = false }, JoinNothing, "no control plane"},
		{"stacked by kubeadm", func(f *JoinFacts) { f.Servers = f.Servers[:1] }, JoinNothing, "kubeadm makes that one"},
		{"its own address is no other node's", func(f *JoinFacts) { f.Servers = []string{"https://192.0.2.12:2379", "https://[::1]:2379"} }, JoinNothing, "kubeadm makes that one"},
		{"no address", func(f *JoinFacts) { f.Address = "" }, JoinWait, "--advertise-address"},
		{"no CA", func(f *JoinFacts) { f.CA = false }, JoinWait, "ca.key"},
		{"no image", func(f *JoinFacts) { f.ImagePresent = false }, JoinWait, "ceo:1"},
		{"I23: no quorum answers", func(f *JoinFacts) { f.ClusterID, f.Silent = "", "time-out" }, JoinWait, "time-out"},
		{"somebody else's etcd: no agent", func(f *JoinFacts) { f.Agents, f.Dark = nil, []string{"agent of m-1: refused"} }, JoinWait, "in another way"},
		{"I3: the agent knows of another cluster", func(f *JoinFacts) { f.Agents[0].ClusterID = "c2" }, JoinWait, `"c2"`},
		{"the first node does not know its cluster yet", func(f *JoinFacts) { f.Agents[0].ClusterID = "" }, JoinWait, "boot"},
		{"somebody took the manifest away", func(f *JoinFacts) { f.Ran, f.Own = true, true }, JoinWait, "taken its manifest away"},
		{"another machine under the same name", func(f *JoinFacts) { f.Own = true }, JoinRender, "cp-2"},
		{"joined anew, after its member was removed", func(f *JoinFacts) { f.Ran = true }, JoinRender, "cp-2"},
		{"no image of etcd", func(f *JoinFacts) { f.Agents[0].Version = "" }, JoinWait, "image of etcd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := joinedNode()
			c.given(&f)
			if d := DecideJoin(f); d.Do != c.want || !strings.Contains(d.Why, c.says) {
				t.Errorf("%d: %s", d.Do, d.Why)
			}
		})
	}
}

// P23: in the middle of an upgrade the new member gets the older version, which every etcd of the cluster accepts; nodes
// that are no members are its peers too.
func TestJoinTakesTheOldestImageAndAllPeers(t *testing.T) {
	f := joinedNode()
	other := node.Peer{Name: "cp-1", Address: "192.0.2.11"}
	f.Agents[0].Peers = []node.Peer{other, {Name: "cp-2", Address: "192.0.2.12"}, f.Members[0]}
	f.Agents = append(f.Agents,
		JoinAgent{Name: "cp-3", ClusterID: "c1", ClusterName: "prod", Image: "registry.k8s.io/etcd:3.6.10-0", Version: "3.6.10"},
		JoinAgent{Name: "cp-4", ClusterID: "c1", ClusterName: "prod", Image: "registry.k8s.io/etcd:3.6.9-0", Version: "3.6.9"},
		JoinAgent{Name: "old", ClusterID: "c0", ClusterName: "prod", Image: "registry.k8s.io/etcd:3.5.1-0", Version: "3.5.1"},
	)
	d := DecideJoin(f)
	if d.Do != JoinRender || d.EtcdImage != "registry.k8s.io/etcd:3.6.9-0" || d.ClusterName != "prod" {
		t.Errorf("%+v", d)
	}
	if want := []node.Peer{f.Members[0], other}; !slices.Equal(d.Peers, want) {
		t.Errorf("%+v", d.Peers)
	}
}

// I3, I23: whatever is known, nothing is rendered for a cluster that no agent vouches for, and never beside etcd's manifest.
func TestJoinNeedsAnAgentsWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := joinedNode()
		for _, b := range []*bool{&f.Placed, &f.Stopped, &f.APIServer, &f.CA, &f.ImagePresent, &f.Asked} {
			*b = rapid.Bool().Draw(t, "fact")
		}
		ids := rapid.SampledFrom([]string{"", "c1", "c2"})
		f.ClusterID = ids.Draw(t, "cluster")
		f.Agents = nil
		vouched := false
		for range rapid.IntRange(0, 3).Draw(t, "agents") {
			a := JoinAgent{Name: "a", ClusterID: ids.Draw(t, "id"), ClusterName: "prod", Image: "etcd:3.7.0-0", Version: "3.7.0"}
			vouched = vouched || a.ClusterID == f.ClusterID && f.ClusterID != ""
			f.Agents = append(f.Agents, a)
		}
		if d := DecideJoin(f); d.Do == JoinRender && (f.Placed || f.Stopped || !f.APIServer || !f.CA || !f.Asked || !vouched) {
			t.Fatalf("%+v: %+v", f, d)
		}
	})
}

// A node gets its etcd only where the cluster is managed, and the round ends there: it is no member yet.
func TestKeeperJoins(t *testing.T) {
	n := &fakeNode{agentSteps: []Step{{Do: PlaceAgent}}}
	says := Says{Exists: true}
	k := newKeeper(n, &says)
	calls, joined, fails := 0, false, error(nil)
	k.Join = func(_ context.Context, _ Options, name string) (bool, error) {
		if calls++; name != k.Node {
			t.Errorf("asked for %s", name)
		}
		return joined, fails
	}
	once := func() error { t.Helper(); return k.once(t.Context()) }
	if err := once(); err != nil || calls != 0 || n.agentRuns != 1 {
		t.Fatalf("Unmanaged: %v, %d", err, calls)
	}
	says.Managed, joined = true, true
	if err := once(); err != nil || calls != 1 || n.fullRuns != 0 {
		t.Fatalf("managed: %v, %d, %d", err, calls, n.fullRuns)
	}
	joined, fails = false, errors.New("no CA")
	if err := once(); !errors.Is(err, fails) || n.fullRuns != 0 {
		t.Fatalf("%v, %d", err, n.fullRuns)
	}
	fails = nil
	if err := once(); err != nil || n.fullRuns != 1 {
		t.Fatalf("a member: %v, %d", err, n.fullRuns)
	}
}
