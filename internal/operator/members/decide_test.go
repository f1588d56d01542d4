package members

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/observe"
)

const cluster = "c1"

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func addr(i int) string { return fmt.Sprintf("10.0.0.%d", i) }

func purl(i int) string { return "https://" + addr(i) + ":2380" }

// world is three members, of which cp-1 leads, each on its node.
func world() observe.Observation {
	o := observe.Observation{At: start, Cluster: &v1alpha1.EtcdCluster{}}
	for i := 1; i <= 3; i++ {
		o.Nodes = append(o.Nodes, observe.Node{Name: fmt.Sprintf("cp-%d", i), Address: addr(i), Wanted: true, State: &agentpb.NodeState{
			Name: fmt.Sprintf("cp-%d", i), Address: addr(i), PeerUrl: purl(i),
			DataDir: &agentpb.DataDir{State: "present", ClusterId: cluster, MemberId: fmt.Sprint(i)},
			Guard:   &agentpb.Guard{State: "running"},
			Etcd: &agentpb.Etcd{
				Answers: true, HasLeader: true, MemberId: fmt.Sprint(i), ClusterId: cluster, LeaderId: "1", Revision: 100, RaftAppliedIndex: 50, MembersLinearizable: true,
			},
		}})
	}
	list(o, 1, 2, 3)
	return o
}

// list makes every etcd give the members of these numbers.
func list(o observe.Observation, ids ...int) {
	for _, n := range o.Nodes {
		var ms []*agentpb.Member
		for _, i := range ids {
			ms = append(ms, &agentpb.Member{Id: fmt.Sprint(i), Name: fmt.Sprintf("cp-%d", i), PeerUrls: []string{purl(i)}, ClientUrls: []string{"https://" + addr(i) + ":2379"}})
		}
		if n.State.GetEtcd().GetAnswers() {
			n.State.Etcd.Members = ms
		}
	}
}

// members changes a member in every list.
func members(o observe.Observation, i int, f func(*agentpb.Member)) {
	for _, n := range o.Nodes {
		for _, m := range n.State.GetEtcd().GetMembers() {
			if m.GetId() == fmt.Sprint(i) {
				f(m)
			}
		}
	}
}

// empty makes the node's guard wait or refuse on an empty data dir.
func empty(o observe.Observation, i int, state, needs string) {
	s := o.Nodes[i-1].State
	s.DataDir = &agentpb.DataDir{State: "none"}
	s.Guard = &agentpb.Guard{State: state, Needs: needs}
	s.Etcd = &agentpb.Etcd{Error: "etcd does not listen: connection refused"}
}

func TestGather(t *testing.T) {
	node := func(v etcd.View, i int) etcd.Node { return v.Nodes[i-1] }
	for _, c := range []struct {
		name  string
		given func(*observe.Observation)
		holds func(gathered) bool
	}{
		{"at rest", func(*observe.Observation) {}, func(g gathered) bool {
			return g.unknown == "" && len(g.view.Nodes) == 3 && node(g.view, 2) == etcd.Node{Name: "cp-2", PeerURL: purl(2), Holds: 2} && g.view.Leader == 1 &&
				etcd.Decide(g.view).Kind == etcd.Settled
		}},
		{"an unset timeout is five minutes, never zero", func(*observe.Observation) {}, func(g gathered) bool { return g.view.UnhealthyTimeout == 5*time.Minute }},
		{"the timeout of the spec", func(o *observe.Observation) {
			o.Cluster.Spec.UnhealthyTimeout = metav1.Duration{Duration: time.Minute}
		}, func(g gathered) bool { return g.view.UnhealthyTimeout == time.Minute }},
		{"a negative timeout", func(o *observe.Observation) {
			o.Cluster.Spec.UnhealthyTimeout = metav1.Duration{Duration: -1}
		}, func(g gathered) bool { return g.view.UnhealthyTimeout == 5*time.Minute }},
		{"a node that is not wanted has no place", func(o *observe.Observation) { o.Nodes[2].Wanted = false }, func(g gathered) bool {
			return len(g.view.Nodes) == 2 && len(g.view.Unwanted()) == 1
		}},
		{"waiting to be added", func(o *observe.Observation) { empty(*o, 3, "waiting", "add"); list(*o, 1, 2) }, func(g gathered) bool {
			a := etcd.Decide(g.view)
			return node(g.view, 3) == etcd.Node{Name: "cp-3", PeerURL: purl(3), Waiting: true} && a.Kind == etcd.AddLearner && a.PeerURL == purl(3)
		}},
		{"I23: waiting for something else is not waiting to be added", func(o *observe.Observation) { empty(*o, 3, "waiting", ""); list(*o, 1, 2) }, func(g gathered) bool {
			return !node(g.view, 3).Waiting && !etcd.Decide(g.view).Changes()
		}},
		{"P2: wiped", func(o *observe.Observation) { empty(*o, 3, "refused", "replace") }, func(g gathered) bool {
			a := etcd.Decide(g.view)
			return node(g.view, 3).Wiped && a.Kind == etcd.Remove && a.MemberID == 3
		}},
		{"I23: refused for another reason is not wiped", func(o *observe.Observation) { empty(*o, 3, "refused", "") }, func(g gathered) bool { return !node(g.view, 3).Wiped }},
		{"I23: a data dir that cannot be looked at is not empty", func(o *observe.Observation) {
			empty(*o, 3, "refused", "replace")
			o.Nodes[2].State.DataDir.State = "unknown"
		}, func(g gathered) bool { return !node(g.view, 3).Wiped && !node(g.view, 3).Waiting }},
		{"I23: what a guard said that runs no more counts for nothing", func(o *observe.Observation) { empty(*o, 3, "", "replace") }, func(g gathered) bool { return !node(g.view, 3).Wiped }},
		{"data of another cluster is not held", func(o *observe.Observation) { o.Nodes[1].State.DataDir.ClusterId = "c0" }, func(g gathered) bool { return node(g.view, 2).Holds == 0 }},
		{"damaged data is not held", func(o *observe.Observation) { o.Nodes[1].State.DataDir.State = "damaged" }, func(g gathered) bool { return node(g.view, 2).Holds == 0 }},
		{"P20: a new address, by the node's own word", func(o *observe.Observation) {
			o.Nodes[1].Address, o.Nodes[1].State.Address, o.Nodes[1].State.PeerUrl = addr(9), addr(9), purl(9)
		}, func(g gathered) bool {
			a := etcd.Decide(g.view)
			return node(g.view, 2).PeerURL == purl(9) && a.Kind == etcd.UpdatePeerURL && a.MemberID == 2 && a.PeerURL == purl(9)
		}},
		{"P20: a new address that etcd itself has published", func(o *observe.Observation) {
			o.Nodes[1].Address = addr(9)
			members(*o, 2, func(m *agentpb.Member) { m.ClientUrls = []string{"https://" + addr(9) + ":2379"} })
		}, func(g gathered) bool { return node(g.view, 2).PeerURL == purl(9) }},
		{"P20: a machine with two networks has not moved", func(o *observe.Observation) { o.Nodes[1].Address = "192.168.7.2" }, func(g gathered) bool {
			return node(g.view, 2).PeerURL == purl(2) && etcd.Decide(g.view).Kind == etcd.Settled
		}},
		{"I23: a dark node has not moved, is not wiped and not dead", func(o *observe.Observation) {
			o.Nodes[1].Address, o.Nodes[1].State, o.Nodes[1].Err = addr(9), nil, "its agent does not answer"
		}, func(g gathered) bool {
			return node(g.view, 2) == etcd.Node{Name: "cp-2", PeerURL: purl(2)} && g.view.Members[1].Health == etcd.Unknown && !etcd.Decide(g.view).Changes()
		}},
		{"I6: an answer that stands in for a late one is no vote", func(o *observe.Observation) { o.Nodes[1].Err = "its agent does not answer" }, func(g gathered) bool {
			return g.view.Members[1].Health == etcd.Unknown && node(g.view, 2).Holds == 0
		}},
		{"P22: about to be restarted", func(o *observe.Observation) {
			o.Nodes[1].State.Revisions = &agentpb.Revisions{Placed: "b", Running: "a"}
		}, func(g gathered) bool {
			// Nor is its vote counted on by the agent that makes a change.
			on := request(g, etcd.Action{Kind: etcd.Promote, MemberID: 2}).GetDecidedOn()
			return g.view.Members[1].Restarting && !g.view.Members[0].Restarting && on[0].GetHealth() == "healthy" && on[1].GetHealth() == "unknown"
		}},
		{"P22: it runs what was placed", func(o *observe.Observation) {
			o.Nodes[1].State.Revisions = &agentpb.Revisions{Placed: "b", Running: "b"}
		}, func(g gathered) bool { return !g.view.Members[1].Restarting }},
		{"P22: revisions that cannot be told", func(o *observe.Observation) {
			o.Nodes[1].State.Revisions = &agentpb.Revisions{Error: "x"}
		}, func(g gathered) bool { return g.view.Members[1].Restarting }},
		{"a member that runs and has not published its name", func(o *observe.Observation) {
			members(*o, 3, func(m *agentpb.Member) { m.Name, m.Learner = "", true })
		}, func(g gathered) bool { return unnamed(g, 3).Started() && unnamed(g, 3).Health == etcd.Healthy }},
		{"a member that was added and does not run", func(o *observe.Observation) {
			empty(*o, 3, "waiting", "")
			members(*o, 3, func(m *agentpb.Member) { m.Name, m.Learner = "", true })
		}, func(g gathered) bool { return !unnamed(g, 3).Started() && etcd.Decide(g.view).Kind == etcd.Wait }},
		{"I23: another machine's word is not the member's", func(o *observe.Observation) {
			empty(*o, 3, "waiting", "add")
			o.Nodes[2].Address, o.Nodes[2].State.Address, o.Nodes[2].State.PeerUrl = addr(9), addr(9), purl(9)
		}, func(g gathered) bool {
			return g.view.Members[2].Health == etcd.Unknown && !etcd.Decide(g.view).Changes()
		}},
		{"no list with a quorum's consent", func(o *observe.Observation) {
			for _, n := range o.Nodes {
				n.State.Etcd.MembersLinearizable = false
			}
		}, func(g gathered) bool { return g.unknown != "" }},
		{"no list at all", func(o *observe.Observation) { o.Nodes = o.Nodes[:0] }, func(g gathered) bool { return g.unknown != "" }},
		{"corrupt", func(o *observe.Observation) {
			o.Nodes[0].State.Etcd.Alarms = []string{"memberID:3 alarm:CORRUPT "}
		}, func(g gathered) bool {
			a := etcd.Decide(g.view)
			r := request(g, a)
			return g.frozen && a.Kind == etcd.Remove && r.GetFrozen() && r.GetDecidedOn()[2].GetHealth() == "unhealthy"
		}},
		{"I23: a selector that leaves out a control-plane node with a member removes nothing", func(o *observe.Observation) {
			o.Nodes[2].Wanted, o.Nodes[2].LeftOut = false, true
		}, func(g gathered) bool { return strings.Contains(g.unknown, "leaves out cp-3") }},
		{"a node that lost its label leaves", func(o *observe.Observation) {
			o.Nodes[2].Wanted = false
		}, func(g gathered) bool { return g.unknown == "" && etcd.Decide(g.view).Kind == etcd.Remove }},
		{"P17: a recovery is open", func(o *observe.Observation) {
			o.Nodes[2].Wanted = false
			o.Nodes[1].State.Recovery = &agentpb.Recovery{Id: "r1"}
		}, func(g gathered) bool { return !etcd.Decide(g.view).Changes() }},
		{"P17: an open recovery that was seen in the last answer", func(o *observe.Observation) {
			o.Nodes[2].Wanted = false
			o.Nodes[1].State.Recovery, o.Nodes[1].Err = &agentpb.Recovery{Id: "r1"}, "its agent does not answer"
		}, func(g gathered) bool { return !etcd.Decide(g.view).Changes() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := world()
			c.given(&o)
			if g, _ := gather(o, memory{}); !c.holds(g) {
				t.Fatalf("%q: %+v\n%+v", g.unknown, g.view, etcd.Decide(g.view))
			}
		})
	}
}

func unnamed(g gathered, id uint64) etcd.Member {
	for _, m := range g.view.Members {
		if m.ID == id {
			return m
		}
	}
	return etcd.Member{}
}

// I8: a learner has caught up once it has applied what the leader had one look ago.
func TestCaughtUp(t *testing.T) {
	at := func(after time.Duration, leader, learner int64) observe.Observation {
		o := world()
		o.At = start.Add(after)
		members(o, 3, func(m *agentpb.Member) { m.Learner = true })
		o.Nodes[0].State.Etcd.Revision = leader
		o.Nodes[2].State.Etcd.Revision, o.Nodes[2].State.Etcd.MetricsRevision = 0, learner
		return o
	}
	for _, c := range []struct {
		name   string
		second observe.Observation
		want   etcd.Kind
	}{
		{"it has what the leader had", at(5*time.Second, 300, 200), etcd.Promote},
		{"it lags", at(5*time.Second, 300, 199), etcd.Wait},
		{"the last look was long ago", at(5*time.Minute, 300, 250), etcd.Wait},
		{"the clock went back", at(-time.Second, 300, 250), etcd.Wait},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, m := gather(at(0, 200, 200), memory{})
			if a := etcd.Decide(g.view); a.Changes() {
				t.Fatalf("after one look: %+v", a)
			}
			g, _ = gather(c.second, m)
			if a := etcd.Decide(g.view); a.Kind != c.want {
				t.Fatalf("%+v", a)
			}
		})
	}
}

// I23: a member whose node is gone is given up after the time-out, as looks count it, and by no clock that jumps.
func TestUnhealthyTimeout(t *testing.T) {
	gone := func(at time.Time) observe.Observation {
		o := world()
		o.At, o.Nodes = at, o.Nodes[:2]
		return o
	}
	removedAfter := func(step func(int) time.Duration) int {
		at, m := start, memory{}
		for i := range 1000 {
			var g gathered
			g, m = gather(gone(at), m)
			if a := etcd.Decide(g.view); a.Kind == etcd.Remove {
				if a.MemberID != 3 {
					t.Fatalf("%+v", a)
				}
				return i
			}
			at = at.Add(step(i))
		}
		return -1
	}
	five := 5 * time.Second
	for _, c := range []struct {
		name  string
		step  func(int) time.Duration
		looks int
	}{
		{"a look each 5 s", func(int) time.Duration { return five }, 60},
		{"a clock that jumps a year ahead adds 30 s", func(i int) time.Duration {
			if i == 3 {
				return 365 * 24 * time.Hour
			}
			return five
		}, 55},
		{"a clock that jumps back adds nothing", func(i int) time.Duration {
			if i == 3 {
				return -time.Hour
			}
			return five
		}, 61},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The first look begins the count.
			if got := removedAfter(c.step); got != c.looks {
				t.Fatalf("given up at look %d, want %d", got, c.looks)
			}
		})
	}
	t.Run("an operator that starts anew counts from zero", func(t *testing.T) {
		_, m := gather(gone(start), memory{})
		for i := range 59 {
			_, m = gather(gone(start.Add(time.Duration(i+1)*five)), m)
		}
		if g, _ := gather(gone(start.Add(10*time.Minute)), memory{}); etcd.Decide(g.view).Changes() {
			t.Fatal("it was given up by an operator that has seen it once")
		}
		if g, _ := gather(gone(start.Add(5*time.Minute)), m); etcd.Decide(g.view).Kind != etcd.Remove {
			t.Fatal("the other one does not")
		}
	})
	t.Run("one look at which it is healthy begins anew", func(t *testing.T) {
		m := memory{}
		for i := range 100 {
			o := gone(start.Add(time.Duration(i) * five))
			if i%50 == 49 {
				o = world()
				o.At, o.Nodes[2].Wanted = start.Add(time.Duration(i)*five), true
			}
			var g gathered
			if g, m = gather(o, m); etcd.Decide(g.view).Changes() {
				t.Fatalf("look %d", i)
			}
		}
	})
	t.Run("a node that is wanted and dark keeps its member for ever", func(t *testing.T) {
		m := memory{}
		for i := range 1000 {
			o := world()
			o.At = start.Add(time.Duration(i) * five)
			o.Nodes[2].State, o.Nodes[2].Err = nil, "its agent does not answer"
			var g gathered
			if g, m = gather(o, m); etcd.Decide(g.view).Changes() {
				t.Fatalf("look %d", i)
			}
		}
	})
}

// TestUnknownIsNotDead (I23): whatever is not seen, of whichever nodes and for however long, makes no member lost that was
// not lost before. Only what a node says itself does, and a Node that is gone.
func TestUnknownIsNotDead(t *testing.T) {
	hide := map[string]func(*observe.Node){
		"dark":   func(n *observe.Node) { n.State, n.Err = nil, "its agent does not answer" },
		"stale":  func(n *observe.Node) { n.Err = "its agent does not answer" },
		"frozen": func(n *observe.Node) { n.State.Etcd = &agentpb.Etcd{Error: "context deadline exceeded"} },
		"no disk": func(n *observe.Node) {
			n.State.DataDir = &agentpb.DataDir{State: "unknown"}
		},
		"no guard": func(n *observe.Node) { n.State.Guard = &agentpb.Guard{Error: "it does not answer", Needs: "replace"} },
		"nothing":  func(n *observe.Node) { n.State = &agentpb.NodeState{Name: n.Name} },
		"elsewhere": func(n *observe.Node) {
			n.State, n.Err, n.Address = nil, "at its address answers another agent", addr(99)
		},
	}
	names := []string{"dark", "stale", "frozen", "no disk", "no guard", "nothing", "elsewhere", ""}
	rapid.Check(t, func(t *rapid.T) {
		m := memory{}
		at := start
		for range rapid.IntRange(1, 40).Draw(t, "looks") {
			o := world()
			at = at.Add(time.Duration(rapid.Int64Range(-1e9, 1e12).Draw(t, "step")))
			o.At = at
			for i := range o.Nodes {
				if f := hide[rapid.SampledFrom(names).Draw(t, "hidden")]; f != nil {
					f(&o.Nodes[i])
				}
			}
			var g gathered
			g, m = gather(o, m)
			for _, n := range g.view.Nodes {
				if n.Wiped || n.Waiting {
					t.Fatalf("%+v", n)
				}
			}
			for _, x := range g.view.Members {
				if x.Health == etcd.Unhealthy || x.Corrupt {
					t.Fatalf("%+v", x)
				}
			}
			if a := etcd.Decide(g.view); g.unknown == "" && a.Changes() {
				t.Fatalf("%+v", a)
			}
		}
	})
}
