// Package etcd holds what the project means by a member, by health and by
// quorum, and the one decision by which members come and go: at bootstrap, in
// regular operation and after a recovery. It does no I/O and reads no clock.
package etcd

import "fmt"

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
}

// Started reports whether it ever published itself.
func (m Member) Started() bool { return m.Name != "" }

// Voter reports whether it counts for the quorum.
func (m Member) Voter() bool { return !m.Learner }

// Node is a control-plane node that is to have a member.
type Node struct {
	Name    string
	PeerURL string
	// Waiting: its guard has set aside what is not of this cluster and waits to
	// be added. Nothing is added for a node that does not wait: it could not
	// start, and an added voter that does not start costs quorum.
	Waiting bool
	// Wiped: its disk holds nothing, though the membership lists it as started
	// (P2). Only the node itself can say so.
	Wiped bool
}

// View is everything a decision is made of.
type View struct {
	Nodes   []Node
	Members []Member
}

// Quorum is how many of n voters make a majority.
func Quorum(n int) int { return n/2 + 1 }

func (v View) voters() (all, healthy int) {
	for _, m := range v.Members {
		if m.Voter() {
			all++
			if m.Health == Healthy {
				healthy++
			}
		}
	}
	return all, healthy
}

// Verdict is an answer with its reason.
type Verdict struct {
	OK     bool
	Reason string
}

// CanLoseVoter says whether the voter may be stopped, restarted or removed
// without costing the quorum (I6): the healthy rest must carry it by itself,
// and a member of unknown health does not count as healthy.
func CanLoseVoter(v View, id uint64) Verdict {
	all, healthy := 0, 0
	name, found := "", false
	for _, m := range v.Members {
		if !m.Voter() {
			if m.ID == id {
				return Verdict{true, fmt.Sprintf("member %x is a learner and counts for no quorum", id)}
			}
			continue
		}
		all++
		if m.ID == id {
			name, found = m.Name, true
			continue
		}
		if m.Health == Healthy {
			healthy++
		}
	}
	if !found {
		return Verdict{true, fmt.Sprintf("member %x is not in the membership", id)}
	}
	if q := Quorum(all); healthy < q {
		return Verdict{false, fmt.Sprintf("without %s only %d of %d voters would be healthy, and %d are needed", name, healthy, all, q)}
	}
	return Verdict{true, fmt.Sprintf("without %s %d of %d voters stay healthy", name, healthy, all)}
}
