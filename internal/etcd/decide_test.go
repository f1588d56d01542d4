package etcd

import (
	"fmt"
	"testing"
)

func url(i int) string { return fmt.Sprintf("https://10.0.0.%d:2380", i) }

func voter(i int, h Health) Member {
	return Member{ID: uint64(i), Name: fmt.Sprintf("cp-%d", i), PeerURL: url(i), Health: h}
}

func learner(i int, h Health, caughtUp bool) Member {
	m := voter(i, h)
	m.Learner, m.CaughtUp = true, caughtUp
	return m
}

func want(i int) Node { return Node{Name: fmt.Sprintf("cp-%d", i), PeerURL: url(i)} }

func waiting(i int) Node { n := want(i); n.Waiting = true; return n }

func seen(nodes []Node, members []Member) View { return View{Nodes: nodes, Members: members} }

func wiped(i int) Node { n := want(i); n.Wiped = true; return n }

func TestDecide(t *testing.T) {
	unstarted := learner(2, Unknown, false)
	unstarted.Name = ""
	for _, c := range []struct {
		name string
		view View
		kind Kind
		id   uint64
		node string
	}{
		{"one restored member, another node waits", seen([]Node{want(1), waiting(2)}, []Member{voter(1, Healthy)}), AddLearner, 0, "cp-2"},
		{"a dark node is not added", seen([]Node{want(1), want(2)}, []Member{voter(1, Healthy)}), Wait, 0, "cp-2"},
		{"an added member that did not start is waited for", seen([]Node{want(1), waiting(2)}, []Member{voter(1, Healthy), unstarted}), Wait, 2, "cp-2"},
		{"I7: no second learner", seen([]Node{want(1), want(2), waiting(3)}, []Member{voter(1, Healthy), learner(2, Healthy, false)}), Wait, 2, "cp-2"},
		{"I8: a learner that lags is not promoted", seen([]Node{want(1), want(2)}, []Member{voter(1, Healthy), learner(2, Healthy, false)}), Wait, 2, "cp-2"},
		{"I23: a learner of unknown health is not promoted", seen([]Node{want(1), want(2)}, []Member{voter(1, Healthy), learner(2, Unknown, true)}), Wait, 2, "cp-2"},
		{"a learner that caught up is promoted", seen([]Node{want(1), want(2)}, []Member{voter(1, Healthy), learner(2, Healthy, true)}), Promote, 2, "cp-2"},
		{"a learner nobody wants goes", seen([]Node{want(1)}, []Member{voter(1, Healthy), learner(2, Healthy, true)}), Remove, 2, ""},
		{"P2: a wiped voter is removed", seen([]Node{want(1), want(2), wiped(3)}, []Member{voter(1, Healthy), voter(2, Healthy), voter(3, Unhealthy)}), Remove, 3, "cp-3"},
		{"I6: a wiped voter stays while the quorum would be lost", seen([]Node{want(1), want(2), wiped(3)}, []Member{voter(1, Healthy), voter(2, Unknown), voter(3, Healthy)}), Wait, 3, "cp-3"},
		{"P2: a wiped learner is removed", seen([]Node{want(1), wiped(2)}, []Member{voter(1, Healthy), learner(2, Unknown, false)}), Remove, 2, "cp-2"},
		{"no quorum, no change", seen([]Node{want(1), waiting(2)}, []Member{voter(1, Unknown)}), Wait, 0, ""},
		{"the bootstrap member stays until all have theirs", seen([]Node{want(1), want(2)}, []Member{voter(9, Healthy), voter(1, Healthy)}), Wait, 0, "cp-2"},
		{"the bootstrap member goes", seen([]Node{want(1), want(2), want(3)}, []Member{voter(9, Healthy), voter(1, Healthy), voter(2, Healthy), voter(3, Healthy)}), Remove, 9, ""},
		{"no node wanted: nothing is removed", seen(nil, []Member{voter(1, Healthy)}), Wait, 0, ""},
		{"settled", seen([]Node{want(1), want(2), want(3)}, []Member{voter(1, Healthy), voter(2, Healthy), voter(3, Healthy)}), Settled, 0, ""},
		{"a voter of unknown health is waited for, not removed", seen([]Node{want(1), want(2), want(3)}, []Member{voter(1, Healthy), voter(2, Healthy), voter(3, Unknown)}), Wait, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Decide(c.view)
			if a.Kind != c.kind || a.MemberID != c.id || a.Node != c.node || a.Reason == "" {
				t.Fatalf("got %+v, want %s of %d on %q", a, c.kind, c.id, c.node)
			}
		})
	}
}
