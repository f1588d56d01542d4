package etcd

import (
	"testing"

	"pgregory.net/rapid"
)

func TestCheck(t *testing.T) {
	three := []Member{voter(1, Healthy), voter(2, Healthy), voter(3, Healthy)}
	withLearner := append([]Member{}, three[0], three[1], learner(3, Healthy, true))
	restarting := append([]Member{}, three...)
	restarting[1].Restarting = true
	for _, c := range []struct {
		name    string
		a       Action
		on, now []Member
		made    bool
		refused bool
	}{
		{"add", Action{Kind: AddLearner, PeerURL: url(4)}, three, three, false, false},
		{"add: added already (I20)", Action{Kind: AddLearner, PeerURL: url(3)}, three, three, true, false},
		{"add: no address", Action{Kind: AddLearner}, three, three, false, true},
		{"I7: add beside a learner", Action{Kind: AddLearner, PeerURL: url(4)}, withLearner, withLearner, false, true},
		{"I7: add, decided on other members", Action{Kind: AddLearner, PeerURL: url(5)}, three, append(append([]Member{}, three...), learner(4, Unknown, false)), false, true},
		{"I6: add where the quorum would be out of reach", Action{Kind: AddLearner, PeerURL: url(4)}, []Member{three[0], three[1], voter(3, Unhealthy)}, three, false, true},
		{"promote", Action{Kind: Promote, MemberID: 3}, withLearner, withLearner, false, false},
		{"promote: votes already (I20)", Action{Kind: Promote, MemberID: 3}, withLearner, three, true, false},
		{"I8: promote one that is not healthy", Action{Kind: Promote, MemberID: 3}, []Member{three[0], three[1], learner(3, Unknown, true)}, withLearner, false, true},
		{"promote a member that is gone", Action{Kind: Promote, MemberID: 3}, withLearner, three[:2], false, true},
		{"remove", Action{Kind: Remove, MemberID: 3}, three, three, false, false},
		{"remove: gone already (I20)", Action{Kind: Remove, MemberID: 3}, three, three[:2], true, false},
		{"I6: remove what the quorum needs", Action{Kind: Remove, MemberID: 3}, []Member{three[0], voter(2, Unknown), three[2]}, three, false, true},
		{"I6, P22: remove while another is about to be restarted", Action{Kind: Remove, MemberID: 3}, restarting, three, false, true},
		{"I6: remove the last voter", Action{Kind: Remove, MemberID: 1}, three[:1], three[:1], false, true},
		{"remove, decided while another voted (I7)", Action{Kind: Remove, MemberID: 1}, withLearner, three, false, true},
		{"remove a learner of unknown health", Action{Kind: Remove, MemberID: 3}, []Member{three[0], three[1], learner(3, Unknown, false)}, withLearner, false, false},
		{"remove without a name", Action{Kind: Remove}, three, three, false, true},
		{"new address", Action{Kind: UpdatePeerURL, MemberID: 3, PeerURL: url(9)}, three, three, false, false},
		{"new address: known already (I20)", Action{Kind: UpdatePeerURL, MemberID: 3, PeerURL: url(3)}, three, three, true, false},
		{"new address: another's", Action{Kind: UpdatePeerURL, MemberID: 3, PeerURL: url(2)}, three, three, false, true},
		{"I6: new address of one that the quorum needs", Action{Kind: UpdatePeerURL, MemberID: 3, PeerURL: url(9)}, []Member{three[0], voter(2, Unhealthy), three[2]}, three, false, true},
		{"hand over", Action{Kind: MoveLeader, MemberID: 1, To: 2}, three, three, false, false},
		{"hand over to a learner", Action{Kind: MoveLeader, MemberID: 1, To: 3}, withLearner, withLearner, false, true},
		{"hand over to one of unknown health (I23)", Action{Kind: MoveLeader, MemberID: 1, To: 2}, []Member{three[0], voter(2, Unknown), three[2]}, three, false, true},
		{"hand over to itself", Action{Kind: MoveLeader, MemberID: 1, To: 1}, three, three, false, true},
		{"nothing", Action{Kind: Wait, MemberID: 1}, three, three, false, true},
		{"no such kind", Action{Kind: "destroy", MemberID: 1}, three, three, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, refused := Check(c.a, View{Members: c.on}, c.now)
			if made != c.made || (refused != "") != c.refused {
				t.Fatalf("made %t, refused %q", made, refused)
			}
		})
	}
}

// What was decided passes the check on the same members, and whatever passes leaves a quorum of healthy voters (I6).
func TestCheckProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := View{UnhealthyTimeout: 1}
		for i := range rapid.IntRange(1, 6).Draw(t, "members") {
			m := voter(i+1, Health(rapid.IntRange(0, 2).Draw(t, "health")))
			m.Restarting, m.UnhealthyFor, m.UnwantedFor = rapid.Bool().Draw(t, "restarting"), 2, 2
			m.Corrupt = rapid.IntRange(0, 9).Draw(t, "corrupt") == 0
			m.Learner = i == 3 && rapid.Bool().Draw(t, "learner")
			m.CaughtUp = rapid.Bool().Draw(t, "caught up")
			v.Members = append(v.Members, m)
		}
		for i := range 7 {
			if n := want(i + 1); rapid.Bool().Draw(t, "wanted") {
				_, has := v.member(uint64(i + 1))
				n.Waiting, n.Wiped = !has && rapid.Bool().Draw(t, "waiting"), has && rapid.IntRange(0, 4).Draw(t, "wiped") == 0
				v.Nodes = append(v.Nodes, n)
			}
		}
		v.Leader = v.Members[0].ID
		if a := Decide(v); a.Changes() {
			if _, refused := Check(a, v, v.Members); refused != "" {
				t.Fatalf("%+v was decided and is refused: %s", a, refused)
			}
		}
		id := v.Members[rapid.IntRange(0, len(v.Members)-1).Draw(t, "whom")].ID
		made, refused := Check(Action{Kind: Remove, MemberID: id}, v, v.Members)
		if m, _ := v.member(id); made || refused != "" || !m.Voter() {
			return
		}
		after := View{}
		for _, m := range v.Members {
			if m.ID != id {
				after.Members = append(after.Members, m)
			}
		}
		if all, healthy := after.voters(); healthy < Quorum(all) {
			t.Fatalf("%x may go, and %d of %d are left", id, healthy, all)
		}
	})
}
