// Package rollout decides which node's etcd is restarted next so that every
// node runs the wanted revision of its static pod: one at a time, the leader
// last, and stopped by the first that does not come back. It does no I/O and
// reads no clock.
package rollout

import (
	"time"

	"clusteretcd.io/ceo/internal/etcd"
)

// Kind of the next action.
type Kind string

// The actions.
const (
	// Done: every node runs the wanted revision and is healthy.
	Done Kind = "done"
	// Wait: something else has to happen first; the reason says what.
	Wait Kind = "wait"
	// MoveLeader hands the leadership from the node's member to another, To.
	MoveLeader Kind = "move-leader"
	// Restart places the wanted revision on the node.
	Restart Kind = "restart"
	// RollBack places the node's last good revision again. The roll-out is
	// stopped from then on.
	RollBack Kind = "roll-back"
	// Stopped: a node did not come back with the wanted revision. Nothing goes on
	// until another revision is wanted: Degraded.
	Stopped Kind = "stopped"
)

// Action is the next one, with its reason.
type Action struct {
	Kind     Kind
	Node     string
	MemberID uint64
	To       uint64
	// Revision that the node is to get.
	Revision string
	// Ill: the member is not healthy before its restart. It is kept with the
	// revision and comes back as Node.Ill.
	Ill bool
	// Unlocked: if the lock cannot be taken, it goes on without. The quorum is
	// lost, and the lock with it, which lies in etcd; the member is not healthy,
	// so there is no vote that this could cost. The agent is asked to do it only
	// if its etcd is not healthy then, either: a look may be old when it arrives.
	Unlocked bool
	Reason   string
}

// Changes reports whether there is anything to be done.
func (a Action) Changes() bool {
	return a.Kind == MoveLeader || a.Kind == Restart || a.Kind == RollBack
}

// Node is what a node's agent says of its static pod. All but the name is
// empty where the agent does not answer.
type Node struct {
	Name    string
	Answers bool
	// Leaving: it has a member and is not wanted any more. It gets no new
	// revision, but is put back if it did not come up with its last: until its
	// member is gone its vote may be needed.
	Leaving bool
	// Placed is the revision of its manifest; Running, of the container that
	// runs. They differ until the kubelet has seen the manifest, and all that
	// time the member that answers is the one of before.
	Placed, Running string
	// PlacedFor is for how long Placed has been there, by the node's own
	// monotonic clock.
	PlacedFor time.Duration
	// Ill: its member was not healthy when Placed was placed. That it is not
	// healthy now says nothing against the revision then.
	Ill bool
	// LastGood is the last revision that it was healthy with; "" for none.
	LastGood string
	// RolledBackFrom is the revision that it was last rolled back from; "" for
	// none. It stays there until the node has been healthy with a later one.
	RolledBackFrom string
}

// View is everything the decision is made of.
type View struct {
	Cluster etcd.View
	// Nodes are all that are wanted or have a member.
	Nodes []Node
	// Target is the revision that every node is to run, by its content.
	Target string
	// Bound is how long a node has to be healthy with a new revision.
	Bound time.Duration
	// AcceptDowntime: one voter, or one of two, may be restarted although that
	// stops etcd for some seconds. There is no other way to change them.
	AcceptDowntime bool
}
