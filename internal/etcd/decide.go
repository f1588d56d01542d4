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
	// MoveLeader hands the leadership from the member to another, To.
	MoveLeader Kind = "move-leader"
	// UpdatePeerURL tells the membership the member's new address.
	UpdatePeerURL Kind = "update-peer-url"
)

// Action is at most one change of the membership (I7), with its reason.
type Action struct {
	Kind     Kind
	Node     string
	PeerURL  string
	MemberID uint64
	// To is the member that takes the leadership over.
	To     uint64
	Reason string
}

// Changes reports whether there is anything to be done.
func (a Action) Changes() bool { return a.Kind != Wait && a.Kind != Settled && a.Kind != "" }

// Decide answers what is to be done next so that every node of the view has
// one voter and there is no other. It never takes a voter away that the quorum
// needs (I6), promotes only what has caught up (I8), and never acts on a member
// whose state is unknown (I23).
//
// It has never two changes in flight (I7). A learner is one until it is
// promoted or gone, with one exception: a voter that is lost goes beside it,
// since that can only make the quorum easier to reach, and the learner's
// promotion may have to wait for just that.
func Decide(v View) Action {
	if may := v.Pause.MayAct(); !may.OK {
		return Action{Kind: Wait, Reason: may.Reason}
	}
	all, healthy := v.voters()
	if q := Quorum(all); healthy < q {
		return Action{Kind: Wait, Reason: fmt.Sprintf("%d of %d voters are healthy, and a change of the membership needs %d", healthy, all, q)}
	}
	if len(v.Nodes) == 0 {
		return Action{Kind: Wait, Reason: "no node is wanted, which is more likely a list that could not be read: all members stay"}
	}
	p := v.pair()
	if p.conflict != "" {
		return Action{Kind: Wait, Reason: p.conflict}
	}
	var waits []Action
	for _, decide := range []func(View, pairs) (Action, bool){decideLost, decideAddress, decideLearner, decideMissing, decideSurplus} {
		a, ok := decide(v, p)
		switch {
		case ok:
			return a
		case a.Kind == Wait:
			waits = append(waits, a)
		}
	}
	if len(waits) > 0 {
		return waits[0]
	}
	for i, n := range v.Nodes {
		if p.ofNode[i] < 0 {
			return Action{Kind: Wait, Node: n.Name, Reason: n.Name + " has no member, and does not wait to be added yet"}
		}
	}
	if healthy < all {
		return Action{Kind: Wait, Reason: fmt.Sprintf("%d of %d voters are healthy", healthy, all)}
	}
	return Action{Kind: Settled, Reason: settled(all)}
}

// settled says as well what an even number of voters is worth.
func settled(all int) string {
	if all > 1 && all%2 == 0 {
		return fmt.Sprintf("all %d voters are healthy; no more may fail than with %d", all, all-1)
	}
	return fmt.Sprintf("all %d voters are healthy", all)
}

// decideMissing adds a learner for a node that waits. A node more than etcd
// should have stays without, or until one that is not wanted has gone.
func decideMissing(v View, p pairs) (Action, bool) {
	for i, n := range v.Nodes {
		if !n.Waiting || p.ofNode[i] >= 0 {
			continue
		}
		if len(v.Members) >= MaxVoters {
			return Action{Kind: Wait, Node: n.Name, Reason: fmt.Sprintf("%s waits to be added, but there are %d members, and more than %d only make writes slower", n.Name, len(v.Members), MaxVoters)}, false
		}
		if can := CanGrow(v); !can.OK {
			return Action{Kind: Wait, Node: n.Name, Reason: n.Name + " waits to be added, but " + can.Reason + ": bring the others back, or delete the Node that is lost"}, false
		}
		return Action{Kind: AddLearner, Node: n.Name, PeerURL: n.PeerURL, Reason: n.Name + " waits to be added"}, true
	}
	return Action{}, false
}
