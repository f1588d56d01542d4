package etcd

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
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
		{"one restored member, another node waits", View{[]Node{want(1), waiting(2)}, []Member{voter(1, Healthy)}}, AddLearner, 0, "cp-2"},
		{"a dark node is not added", View{[]Node{want(1), want(2)}, []Member{voter(1, Healthy)}}, Wait, 0, "cp-2"},
		{"an added member that did not start is waited for", View{[]Node{want(1), waiting(2)}, []Member{voter(1, Healthy), unstarted}}, Wait, 2, "cp-2"},
		{"I7: no second learner", View{[]Node{want(1), want(2), waiting(3)}, []Member{voter(1, Healthy), learner(2, Healthy, false)}}, Wait, 2, "cp-2"},
		{"I8: a learner that lags is not promoted", View{[]Node{want(1), want(2)}, []Member{voter(1, Healthy), learner(2, Healthy, false)}}, Wait, 2, "cp-2"},
		{"I23: a learner of unknown health is not promoted", View{[]Node{want(1), want(2)}, []Member{voter(1, Healthy), learner(2, Unknown, true)}}, Wait, 2, "cp-2"},
		{"a learner that caught up is promoted", View{[]Node{want(1), want(2)}, []Member{voter(1, Healthy), learner(2, Healthy, true)}}, Promote, 2, "cp-2"},
		{"a learner nobody wants goes", View{[]Node{want(1)}, []Member{voter(1, Healthy), learner(2, Healthy, true)}}, Remove, 2, ""},
		{"P2: a wiped voter is removed", View{[]Node{want(1), want(2), wiped(3)}, []Member{voter(1, Healthy), voter(2, Healthy), voter(3, Unhealthy)}}, Remove, 3, "cp-3"},
		{"I6: a wiped voter stays while the quorum would be lost", View{[]Node{want(1), want(2), wiped(3)}, []Member{voter(1, Healthy), voter(2, Unknown), voter(3, Healthy)}}, Wait, 3, "cp-3"},
		{"P2: a wiped learner is removed", View{[]Node{want(1), wiped(2)}, []Member{voter(1, Healthy), learner(2, Unknown, false)}}, Remove, 2, "cp-2"},
		{"no quorum, no change", View{[]Node{want(1), waiting(2)}, []Member{voter(1, Unknown)}}, Wait, 0, ""},
		{"the bootstrap member stays until all have theirs", View{[]Node{want(1), want(2)}, []Member{voter(9, Healthy), voter(1, Healthy)}}, Wait, 0, "cp-2"},
		{"the bootstrap member goes", View{[]Node{want(1), want(2), want(3)}, []Member{voter(9, Healthy), voter(1, Healthy), voter(2, Healthy), voter(3, Healthy)}}, Remove, 9, ""},
		{"no node wanted: nothing is removed", View{nil, []Member{voter(1, Healthy)}}, Wait, 0, ""},
		{"settled", View{[]Node{want(1), want(2), want(3)}, []Member{voter(1, Healthy), voter(2, Healthy), voter(3, Healthy)}}, Settled, 0, ""},
		{"a voter of unknown health is waited for, not removed", View{[]Node{want(1), want(2), want(3)}, []Member{voter(1, Healthy), voter(2, Healthy), voter(3, Unknown)}}, Wait, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Decide(c.view)
			if a.Kind != c.kind || a.MemberID != c.id || a.Node != c.node || a.Reason == "" {
				t.Fatalf("got %+v, want %s of %d on %q", a, c.kind, c.id, c.node)
			}
		})
	}
}

func drawView(t *rapid.T) View {
	var v View
	for i := range rapid.IntRange(0, 5).Draw(t, "nodes") {
		v.Nodes = append(v.Nodes, Node{Name: fmt.Sprintf("cp-%d", i), PeerURL: url(i), Waiting: rapid.Bool().Draw(t, "waiting"), Wiped: rapid.Bool().Draw(t, "wiped")})
	}
	for i := range 7 {
		if !rapid.Bool().Draw(t, "member") {
			continue
		}
		m := voter(i, Health(rapid.IntRange(0, 2).Draw(t, "health")))
		m.Learner, m.CaughtUp = rapid.Bool().Draw(t, "learner"), rapid.Bool().Draw(t, "caught up")
		if rapid.Bool().Draw(t, "unstarted") {
			m.Name = ""
		}
		v.Members = append(v.Members, m)
	}
	return v
}

// I6, I7, I8: whatever is seen, no action costs the quorum, none is begun while
// a learner is in flight, none promotes what has not caught up.
func TestDecideIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		a := Decide(v)
		if a.Reason == "" {
			t.Fatal("a decision without its reason")
		}
		all, healthy := v.voters()
		learners := 0
		for _, m := range v.Members {
			if m.Learner {
				learners++
			}
		}
		for _, m := range v.Members {
			if m.ID != a.MemberID || a.Kind == Wait {
				continue
			}
			if a.Kind == Remove && m.Voter() {
				rest := healthy
				if m.Health == Healthy {
					rest--
				}
				if rest < Quorum(all) {
					t.Fatalf("I6: %+v on %+v leaves %d of %d", a, v, rest, all)
				}
			}
			if a.Kind == Promote && (!m.CaughtUp || m.Health != Healthy || !m.Started()) {
				t.Fatalf("I8: %+v promotes %+v", a, m)
			}
		}
		if a.Kind == AddLearner && learners > 0 {
			t.Fatalf("I7: %+v with %d learners in flight", a, learners)
		}
		if (a.Kind == AddLearner || a.Kind == Promote || a.Kind == Remove) && healthy < Quorum(all) {
			t.Fatalf("a change without a quorum: %+v", a)
		}
	})
}
