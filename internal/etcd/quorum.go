package etcd

import "fmt"

// Quorum is how many of n voters make a majority.
func Quorum(n int) int { return n/2 + 1 }

// Verdict is an answer with its reason.
type Verdict struct {
	OK     bool
	Reason string
}

// CanLoseVoter says whether the voter may be stopped, restarted or removed
// without costing the quorum (I6): the healthy rest must carry it by itself,
// and a member of unknown health does not count as healthy.
func CanLoseVoter(v View, id uint64) Verdict {
	m, found := v.member(id)
	switch {
	case !found:
		return Verdict{true, fmt.Sprintf("member %x is not in the membership", id)}
	case !m.Voter():
		return Verdict{true, fmt.Sprintf("member %x is a learner and counts for no quorum", id)}
	}
	all, rest := v.voters()
	if m.carries() {
		rest--
	}
	if q := Quorum(all); rest < q {
		return Verdict{false, fmt.Sprintf("without %s only %d of %d voters would be healthy, and %d are needed", label(m), rest, all, q)}
	}
	return Verdict{true, fmt.Sprintf("without %s %d of %d voters stay healthy", label(m), rest, all)}
}

// CanRemoveVoter says whether the voter may be taken out of the membership. It
// is CanLoseVoter, and one case more: one of two healthy voters may go, or a
// bootstrap member could never leave a cluster of one node. Both confirm the
// removal, and the other is a quorum by itself from then on.
func CanRemoveVoter(v View, id uint64) Verdict {
	can := CanLoseVoter(v, id)
	if can.OK {
		return can
	}
	all, healthy := v.voters()
	switch {
	case all == 1:
		return Verdict{false, "it is the last voter"}
	case all == 2 && healthy == 2:
		return Verdict{true, "both voters are healthy, and the other carries a cluster of one"}
	}
	return can
}

// CanGrow says whether one voter more may be added now. The new one counts as
// missing, as it does in etcd's own check: a learner that dies while it is
// promoted must not cost the quorum (I6). From one to two there is no other
// way.
func CanGrow(v View) Verdict {
	all, healthy := v.voters()
	switch q := Quorum(all + 1); {
	case all == 1 && healthy == 1:
		return Verdict{true, "the one voter is healthy"}
	case healthy < q:
		return Verdict{false, fmt.Sprintf("%d of %d voters are healthy, and with one more %d would be needed", healthy, all, q)}
	default:
		return Verdict{true, fmt.Sprintf("%d of %d voters are healthy, which is a quorum of %d", healthy, all, all+1)}
	}
}

// Successor is the member to hand the leadership to: a healthy voter other
// than the one that is to lose it, the one that has applied most. ok says
// which may lead; nil is all.
func Successor(v View, from uint64, ok func(Member) bool) (Member, bool) {
	best, found := Member{}, false
	for _, m := range v.Members {
		if m.ID == from || !m.carries() || (ok != nil && !ok(m)) {
			continue
		}
		if !found || m.Applied > best.Applied {
			best, found = m, true
		}
	}
	return best, found
}

// label names a member for a person: the node's name where it has one.
func label(m Member) string {
	if m.Name != "" {
		return m.Name
	}
	return "the member at " + m.PeerURL
}

// Label names the member of an id for a person.
func (v View) Label(id uint64) string {
	if m, ok := v.member(id); ok {
		return label(m)
	}
	return fmt.Sprintf("member %x", id)
}
