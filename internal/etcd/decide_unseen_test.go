package etcd

import "testing"

// I23: without a time-out, as in a recovery, a voter that is not seen and that no node stands for is not removed while a
// node still waits for its member.
func TestUnseenVoterStaysWhileANodeIsMissing(t *testing.T) {
	v := View{Nodes: []Node{want(1), want(2)}, Members: []Member{voter(1, Healthy), voter(3, Healthy), voter(4, Unknown)}}
	if a := Decide(v); a.Kind == Remove {
		t.Fatalf("%+v", a)
	}
	v.Nodes = []Node{want(1), want(3)}
	if a := Decide(v); a.Kind != Remove || a.MemberID != 4 {
		t.Fatalf("%+v", a)
	}
}
