package etcd

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawView(t *rapid.T) View {
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	v := View{UnhealthyTimeout: time.Duration(rapid.IntRange(0, 1).Draw(t, "timeout")) * timeout, Leader: uint64(rapid.IntRange(0, 7).Draw(t, "leader"))}
	for i := range rapid.IntRange(0, 7).Draw(t, "nodes") {
		n := Node{Name: fmt.Sprintf("cp-%d", i), PeerURL: url(i), Waiting: flag("waiting"), Wiped: flag("wiped")}
		if flag("moved") {
			n.PeerURL = url(i + rapid.IntRange(0, 1).Draw(t, "by")*10 + 1)
		}
		if flag("holds") {
			n.Holds = uint64(rapid.IntRange(0, 7).Draw(t, "what"))
		}
		v.Nodes = append(v.Nodes, n)
	}
	for i := range 8 {
		if !flag("member") {
			continue
		}
		m := voter(i, Health(rapid.IntRange(0, 2).Draw(t, "health")))
		m.ID++
		m.Learner, m.CaughtUp, m.Corrupt, m.Restarting = flag("learner"), flag("caught up"), flag("corrupt"), flag("restarting")
		if flag("unstarted") {
			m.Name = ""
		}
		m.UnhealthyFor = time.Duration(rapid.IntRange(0, 2).Draw(t, "unhealthy")) * timeout / 2
		m.UnwantedFor = time.Duration(rapid.IntRange(0, 2).Draw(t, "unwanted")) * timeout / 2
		v.Members = append(v.Members, m)
	}
	return v
}

// I6, I7, I8, I23: whatever is seen, be it possible or not, no action costs the
// quorum, none is begun while a learner is in flight, none promotes what has
// not caught up, none removes what is merely not seen.
func TestDecideIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		a := Decide(v)
		if a.Reason == "" {
			t.Fatal("a decision without its reason")
		}
		if !a.Changes() {
			return
		}
		all, healthy := v.Voters()
		if healthy < Quorum(all) {
			t.Fatalf("a change without a quorum: %+v", a)
		}
		m, _ := v.member(a.MemberID)
		rest := healthy
		if m.carries() {
			rest--
		}
		switch a.Kind {
		case AddLearner:
			if _, ok := v.Learner(); ok || len(v.Members) >= MaxVoters {
				t.Fatalf("I7: %+v", a)
			}
			fallthrough
		case Promote:
			if all > 1 && healthy < Quorum(all+1) {
				t.Fatalf("I6: %+v with %d of %d", a, healthy, all)
			}
			if a.Kind == Promote && (!m.CaughtUp || m.Health != Healthy || !m.Started() || m.Corrupt || m.Restarting || !m.Learner) {
				t.Fatalf("I8: %+v promotes %+v", a, m)
			}
		case Remove:
			if m.Voter() && rest < Quorum(all) && (all != 2 || healthy != 2) {
				t.Fatalf("I6: %+v leaves %d of %d", a, rest, all)
			}
			if len(v.Nodes) == 0 {
				t.Fatalf("%+v, and no node is wanted", a)
			}
			if n, wanted := nodeOf(v, m.ID); wanted && m.Voter() && m.Health == Unknown && !n.Wiped && !n.Waiting && !m.Corrupt && n.PeerURL == m.PeerURL {
				t.Fatalf("I23: %+v removes %+v", a, m)
			}
		case MoveLeader:
			if to, ok := v.member(a.To); !ok || !to.carries() || to.ID == m.ID || v.Leader != m.ID {
				t.Fatalf("%+v", a)
			}
		case UpdatePeerURL:
			if n, ok := nodeOf(v, m.ID); !ok || n.Holds != m.ID || n.PeerURL != a.PeerURL || v.holder(a.PeerURL) >= 0 {
				t.Fatalf("P20: %+v of %+v", a, m)
			}
		}
	})
}

func nodeOf(v View, id uint64) (Node, bool) {
	p := v.pair()
	for j, m := range v.Members {
		if m.ID == id && p.ofMember[j] >= 0 {
			return v.Nodes[p.ofMember[j]], true
		}
	}
	return Node{}, false
}
