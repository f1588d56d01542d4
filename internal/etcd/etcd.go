// Package etcd holds what the project means by a member, by health and by
// quorum, and the one decision by which members come and go: at bootstrap, in
// regular operation and after a recovery. It does no I/O and reads no clock.
package etcd

import "time"

// Health of a member as it was last seen. The zero value is Unknown: a
// time-out is not a death (I23).
type Health int

// The healths of a member.
const (
	Unknown Health = iota
	Healthy
	Unhealthy
)

func (h Health) String() string {
	switch h {
	case Healthy:
		return "healthy"
	case Unhealthy:
		return "unhealthy"
	}
	return "unknown"
}

// Member is a member of the cluster as the membership lists it, with what is
// known of it.
type Member struct {
	ID      uint64
	Name    string // empty: added, never started
	PeerURL string
	Learner bool
	Health  Health
	// CaughtUp: it has applied everything that the leader had when it was last
	// asked. Only a learner's counts (I8).
	CaughtUp bool
	// Corrupt: its data is known to differ from the others'. It is not counted
	// as healthy, whatever it answers.
	Corrupt bool
	// Restarting: a new manifest lies on its node, and its container is still the
	// one of before; or that is not known, as its agent does not answer. It serves
	// and will stop at any moment, so its vote is not counted on (P22).
	Restarting bool
	// Applied is the raft index that it has applied; 0 where it is not known.
	Applied uint64
	// UnhealthyFor is for how long it has not been seen healthy; UnwantedFor,
	// for how long no node has stood for it. Both are counted with Elapsed, not
	// taken from two wall clocks: a clock that jumps must not kill a member.
	UnhealthyFor, UnwantedFor time.Duration
}

// Started reports whether it ever published itself.
func (m Member) Started() bool { return m.Name != "" }

// Voter reports whether it counts for the quorum.
func (m Member) Voter() bool { return !m.Learner }

// carries reports whether its vote is there to be counted on.
func (m Member) carries() bool {
	return m.Voter() && m.Health == Healthy && !m.Corrupt && !m.Restarting
}

// Node is a control-plane node that is to have a member.
type Node struct {
	Name string
	// PeerURL is made of the node's present address.
	PeerURL string
	// Waiting: its guard has set aside what is not of this cluster and waits to
	// be added. Nothing is added for a node that does not wait: it could not
	// start, and an added voter that does not start costs quorum.
	Waiting bool
	// Wiped: its disk holds nothing, though the membership lists it as started
	// (P2). Only the node itself can say so.
	Wiped bool
	// Holds is the id of the member whose data lies on it, if that is of this
	// cluster; 0 where there is none or it is not known. It is what makes a node
	// with a new address the member of before (P20).
	Holds uint64
}

// View is everything a decision is made of.
type View struct {
	Nodes   []Node
	Members []Member
	// Leader is the member that leads; 0 where it is not known.
	Leader uint64
	// UnhealthyTimeout is how long a member that no node stands for, and that
	// is not seen healthy, stays all the same. Zero is for a caller who left a
	// node out because a person let it go (a recovery): then it goes at once.
	UnhealthyTimeout time.Duration
	// Pause is why nothing is to be done at all.
	Pause Pause
}

// MaxVoters is the most that etcd advises: each write waits for a majority,
// and more than seven cost more than they protect.
const MaxVoters = 7

func (v View) member(id uint64) (Member, bool) {
	for _, m := range v.Members {
		if m.ID == id && id != 0 {
			return m, true
		}
	}
	return Member{}, false
}

func (v View) voters() (all, healthy int) {
	for _, m := range v.Members {
		if m.Voter() {
			all++
			if m.carries() {
				healthy++
			}
		}
	}
	return all, healthy
}

// Voters counts those that vote, and those of them that are healthy.
func (v View) Voters() (all, healthy int) { return v.voters() }

// Learner is the first member that does not vote yet: a change in flight (I7).
func (v View) Learner() (Member, bool) {
	for _, m := range v.Members {
		if m.Learner {
			return m, true
		}
	}
	return Member{}, false
}
