package etcd

import (
	"fmt"
	"slices"
)

// Check is the last word on a change, by whoever makes it: on is what it was
// decided on, now is the membership as a quorum has just listed it, with the
// lock held. A change that is made already is no change (I20). One that was
// decided on another membership is refused (I7), and so is one that the
// arithmetic does not allow: whoever decides may have a bug, or have seen an
// old state (I6).
func Check(a Action, on View, now []Member) (made bool, refused string) {
	if Made(a, now) {
		return true, ""
	}
	if d := differs(on.Members, now); d != "" {
		return false, "the membership is not the one that this was decided on: " + d + "; look again"
	}
	m, listed := on.member(a.MemberID)
	if !listed && a.Kind != AddLearner {
		return false, fmt.Sprintf("member %x is not in the membership", a.MemberID)
	}
	switch a.Kind {
	case AddLearner:
		refused = checkAdd(a, on)
	case Promote:
		refused = checkPromote(on, m)
	case Remove:
		if m.Voter() {
			refused = no(CanRemoveVoter(on, m.ID))
		}
	case UpdatePeerURL:
		refused = checkAddress(a, on, m)
	case MoveLeader:
		if to, ok := on.member(a.To); !ok || to.ID == m.ID || !to.carries() {
			refused = fmt.Sprintf("member %x is no healthy voter that could take the leadership over", a.To)
		}
	case Wait, Settled:
		refused = "there is nothing to do"
	default:
		refused = fmt.Sprintf("%q is no change of the membership", a.Kind)
	}
	return false, refused
}

// Made reports whether the membership says that the change is made. It says
// nothing of the leadership.
func Made(a Action, now []Member) bool {
	m, listed := View{Members: now}.member(a.MemberID)
	switch a.Kind {
	case AddLearner:
		return slices.ContainsFunc(now, func(m Member) bool { return m.PeerURL == a.PeerURL && a.PeerURL != "" })
	case Promote:
		return listed && m.Voter()
	case Remove:
		return !listed && a.MemberID != 0
	case UpdatePeerURL:
		return listed && m.PeerURL == a.PeerURL
	case Wait, Settled, MoveLeader:
	}
	return false
}

// differs says how two memberships differ in what counts for the quorum.
func differs(on, now []Member) string {
	for _, n := range now {
		i := slices.IndexFunc(on, func(o Member) bool { return o.ID == n.ID })
		switch {
		case i < 0:
			return fmt.Sprintf("%s (%x) is new", label(n), n.ID)
		case on[i].Learner && !n.Learner:
			return fmt.Sprintf("%s (%x) votes now", label(n), n.ID)
		case on[i].Learner != n.Learner:
			return fmt.Sprintf("%s (%x) is a learner", label(n), n.ID)
		}
	}
	for _, o := range on {
		if !slices.ContainsFunc(now, func(n Member) bool { return n.ID == o.ID }) {
			return fmt.Sprintf("%s (%x) is gone", label(o), o.ID)
		}
	}
	if len(on) != len(now) {
		return "a member is named twice"
	}
	return ""
}

func no(v Verdict) string {
	if v.OK {
		return ""
	}
	return v.Reason
}

func checkAdd(a Action, on View) string {
	l, flying := on.Learner()
	switch {
	case a.PeerURL == "":
		return "no address is named"
	case flying:
		return label(l) + " is a learner still: one change at a time (I7)"
	case len(on.Members) >= MaxVoters:
		return fmt.Sprintf("there are %d members, and etcd is to have no more than %d", len(on.Members), MaxVoters)
	}
	return no(CanGrow(on))
}

func checkPromote(on View, m Member) string {
	if m.Health != Healthy || m.Corrupt || m.Restarting {
		return label(m) + " is not healthy: it is promoted when it is (I8)"
	}
	return no(CanGrow(on))
}

func checkAddress(a Action, on View, m Member) string {
	if a.PeerURL == "" {
		return "no address is named"
	}
	if j := on.holder(a.PeerURL); j >= 0 {
		return fmt.Sprintf("%s is the address of %s", a.PeerURL, label(on.Members[j]))
	}
	if !mayReconnect(on, m) {
		return CanLoseVoter(on, m.ID).Reason
	}
	return ""
}
