package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcd"
)

const bound = 3 * time.Minute

// view is n healthy voters, cp-1 leading, all at revision r1, and r2 wanted.
func view(n int) View {
	v := View{Target: "r2", Bound: bound}
	v.Cluster.Leader = 1
	for i := 1; i <= n; i++ {
		name, u := fmt.Sprintf("cp-%d", i), fmt.Sprintf("https://10.0.0.%d:2380", i)
		v.Cluster.Nodes = append(v.Cluster.Nodes, etcd.Node{Name: name, PeerURL: u})
		v.Cluster.Members = append(v.Cluster.Members, etcd.Member{ID: uint64(i), Name: name, PeerURL: u, Health: etcd.Healthy})
		v.Nodes = append(v.Nodes, Node{Name: name, Answers: true, Placed: "r1", Running: "r1", LastGood: "r1", PlacedFor: time.Hour})
	}
	return v
}

type change func(*View)

func with(v View, changes ...change) View {
	for _, c := range changes {
		c(&v)
	}
	return v
}

func health(i int, h etcd.Health) change {
	return func(v *View) { v.Cluster.Members[i-1].Health = h }
}

// at: the node has r2 placed for a while, and runs it or not.
func at(i int, running string, ago time.Duration) change {
	return func(v *View) {
		n := &v.Nodes[i-1]
		n.Placed, n.Running, n.PlacedFor = "r2", running, ago
		v.Cluster.Members[i-1].Restarting = running != "r2"
		if running == "r2" && v.Cluster.Members[i-1].Health == etcd.Healthy {
			n.LastGood = "r2"
		}
	}
}

func node(i int, f func(*Node)) change { return func(v *View) { f(&v.Nodes[i-1]) } }

// accepted is the downtime.
func accepted(v *View) { v.AcceptDowntime = true }

func done(i int) change { return at(i, "r2", time.Hour) }

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		view   View
		action Action // its reason is a part of it
	}{
		"all current":       {with(view(3), done(1), done(2), done(3)), Action{Kind: Done, Reason: "and is healthy"}},
		"followers first":   {view(3), Action{Kind: Restart, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "runs revision r1, and r2 is wanted"}},
		"the next follower": {with(view(3), done(2)), Action{Kind: Restart, Node: "cp-3", MemberID: 3, Revision: "r2", Reason: "r2 is wanted"}},
		"adopted: no revision of ours yet": {
			with(view(3), node(2, func(n *Node) { *n = Node{Name: "cp-2", Answers: true} })),
			Action{Kind: Restart, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "runs revision none of ours"},
		},
		"the leader hands over, to one that is current": {
			with(view(3), done(3), at(2, "r2", time.Hour)), Action{Kind: MoveLeader, Node: "cp-1", MemberID: 1, To: 2, Revision: "r2", Reason: "leads and is the last"},
		},
		"the leader of before is a follower": {
			with(view(3), done(2), done(3), func(v *View) { v.Cluster.Leader = 3 }), Action{Kind: Restart, Node: "cp-1", MemberID: 1, Revision: "r2", Reason: "r2 is wanted"},
		},
		"no leader is known": {
			with(view(3), func(v *View) { v.Cluster.Leader = 0 }), Action{Kind: Wait, Node: "cp-1", MemberID: 1, Revision: "r2", Reason: "no leader is known"},
		},
		"P22: placed, and the old container still answers": {
			with(view(3), at(2, "r1", time.Second)), Action{Kind: Wait, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "does not run it yet"},
		},
		"restarted, not healthy yet": {
			with(view(3), health(2, etcd.Unhealthy), at(2, "r2", time.Minute)), Action{Kind: Wait, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "is not healthy with it yet"},
		},
		"restarted, not healthy in time: back": {
			with(view(3), health(2, etcd.Unhealthy), at(2, "r2", bound)), Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "is put back to r1"},
		},
		"the kubelet never started it: back": {
			with(view(3), health(2, etcd.Unhealthy), at(2, "", bound)), Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "does not run it yet"},
		},
		"the kubelet left the old one running: back": {
			with(view(3), at(2, "r1", bound)), Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "does not run it yet"},
		},
		"I6, P22: the same, with another ill: its vote is what the quorum lacks": {
			with(view(3), at(2, "r1", bound), health(3, etcd.Unhealthy)), Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "does not run it yet"},
		},
		"I23: restarted, and cannot be reached": {
			with(view(3), health(2, etcd.Unknown), at(2, "r2", bound)), Action{Kind: Wait, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "says nothing about the revision"},
		},
		"being put back": {
			with(view(3), health(2, etcd.Unhealthy), node(2, func(n *Node) { n.Running, n.PlacedFor, n.RolledBackFrom = "r2", time.Second, "r2" })),
			Action{Kind: Wait, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "does not run it yet"},
		},
		"was put back: stopped": {
			with(view(3), node(2, func(n *Node) { n.RolledBackFrom = "r2" })),
			Action{Kind: Stopped, Node: "cp-2", Revision: "r2", Reason: "the roll-out stopped"},
		},
		"was put back, another revision is wanted": {
			with(view(3), node(2, func(n *Node) { n.RolledBackFrom = "r0" })),
			Action{Kind: Restart, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "r2 is wanted"},
		},
		"never was healthy with any: stopped": {
			with(view(3), health(2, etcd.Unhealthy), at(2, "r2", bound), node(2, func(n *Node) { n.LastGood = "" })),
			Action{Kind: Stopped, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "no revision that it was healthy with"},
		},
		"never was healthy with any, another is wanted: the cure": {
			with(view(3), health(2, etcd.Unhealthy), node(2, func(n *Node) { n.LastGood = "" })),
			Action{Kind: Restart, Node: "cp-2", MemberID: 2, Revision: "r2", Ill: true, Reason: "gets revision r2 first"},
		},
		"one that is not well goes first": {
			with(view(3), health(3, etcd.Unhealthy)), Action{Kind: Restart, Node: "cp-3", MemberID: 3, Revision: "r2", Ill: true, Reason: "costs no vote"},
		},
		"one that was ill before says nothing against the revision": {
			with(view(5), health(3, etcd.Unhealthy), at(3, "r2", bound), node(3, func(n *Node) { n.Ill = true })),
			Action{Kind: Restart, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "r2 is wanted"},
		},
		"one that was ill before is put back with the others": {
			with(view(3), health(3, etcd.Unhealthy), at(3, "r2", bound), node(3, func(n *Node) { n.Ill = true }), node(2, func(n *Node) { n.RolledBackFrom = "r2" })),
			Action{Kind: RollBack, Node: "cp-3", MemberID: 3, Revision: "r1", Reason: "is put back"},
		},
		"one that was ill before is put back if the quorum misses it": {
			with(view(3), health(3, etcd.Unhealthy), at(3, "r2", bound), node(3, func(n *Node) { n.Ill = true }), health(2, etcd.Unknown)),
			Action{Kind: RollBack, Node: "cp-3", MemberID: 3, Revision: "r1", Unlocked: true, Reason: "is put back"},
		},
		"I23: one of unknown state is not touched, nor the others that the quorum needs": {
			with(view(3), health(3, etcd.Unknown)), Action{Kind: Wait, Node: "cp-1", MemberID: 1, Revision: "r2", Reason: "only 1 of 3"},
		},
		"five voters, one of unknown state": {
			with(view(5), health(5, etcd.Unknown)), Action{Kind: Restart, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "r2 is wanted"},
		},
		"I23: an agent is silent": {
			with(view(5), node(5, func(n *Node) { *n = Node{Name: "cp-5"} })), Action{Kind: Wait, Node: "cp-5", Revision: "r2", Reason: "does not answer"},
		},
		"an agent is silent, and the one restarted before has to go back": {
			with(view(5), node(5, func(n *Node) { *n = Node{Name: "cp-5"} }), health(2, etcd.Unhealthy), at(2, "r2", bound)),
			Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "is put back"},
		},
		"I7: a learner is on its way": {
			with(view(3), func(v *View) { v.Cluster.Members[2].Learner = true }), Action{Kind: Wait, MemberID: 3, Reason: "a learner is on its way"},
		},
		"a learner that does not come up gets the revision": {
			with(view(3), health(3, etcd.Unhealthy), func(v *View) { v.Cluster.Members[2].Learner = true }),
			Action{Kind: Restart, Node: "cp-3", MemberID: 3, Revision: "r2", Ill: true, Reason: "costs no vote"},
		},
		"a node without a member": {
			with(view(3), func(v *View) { v.Cluster.Members = v.Cluster.Members[:2] }), Action{Kind: Restart, Node: "cp-3", Revision: "r2", Reason: "costs no vote"},
		},
		"the quorum is lost": {
			with(view(3), health(2, etcd.Unknown), health(3, etcd.Unknown)), Action{Kind: Wait, Reason: "1 of 3 voters are healthy"},
		},
		"I6: one of two": {view(2), Action{Kind: Wait, Node: "cp-1", MemberID: 1, Revision: "r2", Reason: "only 1 of 2"}},
		"one of two, the downtime accepted": {
			with(view(2), accepted), Action{Kind: Restart, Node: "cp-2", MemberID: 2, Revision: "r2", Reason: "r2 is wanted"},
		},
		"I6: the only one": {view(1), Action{Kind: Wait, Node: "cp-1", MemberID: 1, Revision: "r2", Reason: "only 0 of 1"}},
		"the only one, the downtime accepted": {
			with(view(1), accepted), Action{Kind: Restart, Node: "cp-1", MemberID: 1, Revision: "r2", Reason: "r2 is wanted"},
		},
		"the only one did not come back: there is no lock to take": {
			with(view(1), accepted, health(1, etcd.Unhealthy), at(1, "r2", bound)),
			Action{Kind: RollBack, Node: "cp-1", MemberID: 1, Revision: "r1", Unlocked: true, Reason: "is put back"},
		},
		"P22: the only one was left with the old container: back, under the lock": {
			with(view(1), accepted, at(1, "r1", bound)), Action{Kind: RollBack, Node: "cp-1", MemberID: 1, Revision: "r1", Reason: "does not run it yet"},
		},
		"P22: the same, before its time": {
			with(view(1), accepted, at(1, "r1", bound-1)), Action{Kind: Wait, Node: "cp-1", MemberID: 1, Revision: "r2", Reason: "does not run it yet"},
		},
		"P22: one of two was left with the old container: back, under the lock": {
			with(view(2), accepted, at(2, "r1", bound)), Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "does not run it yet"},
		},
		"I23: the same, the other of unknown state": {
			with(view(2), accepted, at(2, "r1", bound), health(1, etcd.Unknown)), Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "does not run it yet"},
		},
		"P22: the same, the other about to restart": {
			with(view(2), accepted, at(2, "r1", bound), func(v *View) { v.Cluster.Members[0].Restarting = true }),
			Action{Kind: RollBack, Node: "cp-2", MemberID: 2, Revision: "r1", Reason: "does not run it yet"},
		},
		"P22, I6: it is about to restart, and nothing else begins": {
			with(view(2), accepted, func(v *View) { v.Cluster.Members[0].Restarting = true }), Action{Kind: Wait, Reason: "1 of 2 voters are healthy"},
		},
		"current, and ill for another reason": {
			with(view(3), done(1), done(2), done(3), health(3, etcd.Unhealthy)), Action{Kind: Done, Reason: "cp-3 is unhealthy for another reason"},
		},
		"a node that leaves gets no new revision": {
			with(view(3), done(1), done(2), node(3, func(n *Node) { n.Leaving = true })), Action{Kind: Done, Reason: "and is healthy"},
		},
		"a node that leaves, and did not come back, is put back": {
			with(view(3), health(3, etcd.Unhealthy), at(3, "r2", bound), node(3, func(n *Node) { n.Leaving = true }), func(v *View) { v.Cluster.Nodes = v.Cluster.Nodes[:2] }),
			Action{Kind: RollBack, Node: "cp-3", MemberID: 3, Revision: "r1", Reason: "is put back"},
		},
		"no revision yet":         {with(view(3), func(v *View) { v.Target = "" }), Action{Kind: Wait, Reason: "no revision"}},
		"P17: a recovery is open": {with(view(3), func(v *View) { v.Cluster.Pause.Recovery = "r-1" }), Action{Kind: Wait, Reason: "recovery r-1"}},
		"a person works by hand":  {with(view(3), func(v *View) { v.Cluster.Pause.Unmanaged = true }), Action{Kind: Wait, Reason: "Unmanaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := Next(c.view)
			if !strings.Contains(a.Reason, c.action.Reason) {
				t.Errorf("reason %q, want %q", a.Reason, c.action.Reason)
			}
			if a.Reason = c.action.Reason; a != c.action {
				t.Errorf("got %+v, want %+v", a, c.action)
			}
		})
	}
}
