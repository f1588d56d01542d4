package etcd

import "fmt"

// Kind of the next action.
type Kind string

// The actions.
const (
	// Settled: every node has its voter and every voter its node.
	Settled Kind = "settled"
	// Wait: something else has to happen first; the reason says what.
	Wait Kind = "wait"
	// AddLearner adds the node's member.
	AddLearner Kind = "add-learner"
	// Promote makes the learner a voter.
	Promote Kind = "promote"
	// Remove takes the member out of the membership.
	Remove Kind = "remove"
)

// Action is at most one change of the membership (I7), with its reason.
type Action struct {
	Kind     Kind
	Node     string
	PeerURL  string
	MemberID uint64
	Reason   string
}

// Decide answers what is to be done next so that every node of the view has
// one voter and there is no other. It never takes a voter away that the quorum
// needs (I6), has never two changes in flight (I7), promotes only what has
// caught up (I8), and never acts on a member whose state is unknown (I23).
func Decide(v View) Action {
	all, healthy := v.voters()
	if q := Quorum(all); healthy < q {
		return Action{Kind: Wait, Reason: fmt.Sprintf("%d of %d voters are healthy, and a change of the membership needs %d", healthy, all, q)}
	}
	// A learner is a change in flight: it is finished before anything else.
	for _, m := range v.Members {
		if m.Learner {
			return decideLearner(v, m)
		}
	}
	if a, ok := decideWiped(v); ok {
		return a
	}
	for _, n := range v.Nodes {
		if n.Waiting && !v.hasMember(n) {
			// A voter that is down could be the one the new learner's vote is
			// missed by later; growing is still right, since it only adds.
			return Action{Kind: AddLearner, Node: n.Name, PeerURL: n.PeerURL, Reason: n.Name + " waits to be added"}
		}
	}
	if a, ok := decideSurplus(v); ok {
		return a
	}
	for _, n := range v.Nodes {
		if !v.hasMember(n) {
			return Action{Kind: Wait, Node: n.Name, Reason: n.Name + " has no member, and does not wait to be added yet"}
		}
	}
	if healthy < all {
		return Action{Kind: Wait, Reason: fmt.Sprintf("%d of %d voters are healthy", healthy, all)}
	}
	return Action{Kind: Settled, Reason: fmt.Sprintf("all %d voters are healthy", all)}
}

func decideLearner(v View, m Member) Action {
	n, wanted := v.nodeOf(m)
	switch {
	case !wanted:
		return Action{Kind: Remove, MemberID: m.ID, PeerURL: m.PeerURL, Reason: fmt.Sprintf("no node stands for the learner at %s", m.PeerURL)}
	case n.Wiped && m.Started():
		return Action{Kind: Remove, Node: n.Name, MemberID: m.ID, PeerURL: m.PeerURL, Reason: n.Name + " lost the data of its learner (P2): it is removed and added again"}
	case !m.Started():
		return Action{Kind: Wait, Node: n.Name, MemberID: m.ID, Reason: "the learner on " + n.Name + " was added and has not started yet"}
	case m.Health == Healthy && m.CaughtUp:
		return Action{Kind: Promote, Node: n.Name, MemberID: m.ID, Reason: "the learner on " + n.Name + " has applied what the leader had"}
	}
	return Action{Kind: Wait, Node: n.Name, MemberID: m.ID, Reason: "the learner on " + n.Name + " is catching up"}
}

func decideWiped(v View) (Action, bool) {
	for _, m := range v.Members {
		n, ok := v.nodeOf(m)
		if !ok || !n.Wiped || !m.Started() {
			continue
		}
		if can := CanLoseVoter(v, m.ID); !can.OK {
			return Action{Kind: Wait, Node: n.Name, MemberID: m.ID, Reason: n.Name + " lost its data, but " + can.Reason}, true
		}
		return Action{Kind: Remove, Node: n.Name, MemberID: m.ID, PeerURL: m.PeerURL, Reason: n.Name + " lost its data and must not start under its old id (P2): it is removed and added again"}, true
	}
	return Action{}, false
}

// decideSurplus removes a member that no node stands for, the bootstrap member
// for one, once every node has its voter and these carry the quorum alone.
func decideSurplus(v View) (Action, bool) {
	for _, m := range v.Members {
		if _, ok := v.nodeOf(m); ok {
			continue
		}
		for _, n := range v.Nodes {
			if !v.hasMember(n) {
				return Action{Kind: Wait, Node: n.Name, Reason: fmt.Sprintf("the member at %s goes once %s has its own", m.PeerURL, n.Name)}, true
			}
		}
		if len(v.Nodes) == 0 {
			return Action{Kind: Wait, Reason: "no node is wanted: the last members stay"}, true
		}
		if can := CanLoseVoter(v, m.ID); !can.OK {
			return Action{Kind: Wait, MemberID: m.ID, Reason: fmt.Sprintf("the member at %s is not wanted, but %s", m.PeerURL, can.Reason)}, true
		}
		return Action{Kind: Remove, MemberID: m.ID, PeerURL: m.PeerURL, Reason: fmt.Sprintf("no node stands for the member at %s, and the others carry the quorum", m.PeerURL)}, true
	}
	return Action{}, false
}

func (v View) nodeOf(m Member) (Node, bool) {
	for _, n := range v.Nodes {
		if n.PeerURL == m.PeerURL {
			return n, true
		}
	}
	return Node{}, false
}

func (v View) hasMember(n Node) bool {
	for _, m := range v.Members {
		if m.PeerURL == n.PeerURL {
			return true
		}
	}
	return false
}
