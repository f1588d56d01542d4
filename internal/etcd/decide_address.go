package etcd

import (
	"fmt"
	"slices"
)

// decideAddress tells the membership where a node is now (P20). The member is
// kept, not replaced: its data dir proves that it is the one of before, so it
// loses no vote and copies no data; only the others' address book was wrong.
// Without that proof nothing is updated: see lostMachine.
func decideAddress(v View, p pairs) (Action, bool) {
	var waits []Action
	for j, m := range v.Members {
		i := p.ofMember[j]
		if i < 0 || v.Nodes[i].PeerURL == m.PeerURL || !m.Started() {
			continue
		}
		n := v.Nodes[i]
		a := Action{Kind: Wait, Node: n.Name, MemberID: m.ID, PeerURL: n.PeerURL}
		if n.Holds != m.ID {
			a.Reason = fmt.Sprintf("%s is at %s now, its member at %s, and what it holds is not known yet", n.Name, n.PeerURL, m.PeerURL)
			waits = append(waits, a)
			continue
		}
		switch other, cycle := v.chain(p, j); {
		case cycle && v.Leader != m.ID && CanRemoveVoter(v, m.ID).OK:
			a.Kind, a.PeerURL = Remove, m.PeerURL
			a.Reason = fmt.Sprintf("%s and %s have each other's addresses, and the membership takes none twice: %s is removed and added again", n.Name, label(other), n.Name)
			return a, true
		case other.ID != 0:
			a.Reason = fmt.Sprintf("%s is at %s now, which the membership still gives to %s", n.Name, n.PeerURL, label(other))
		case !mayReconnect(v, m):
			a.Reason = fmt.Sprintf("%s is at %s now; its peers reconnect to it when more voters are healthy: %s", n.Name, n.PeerURL, CanLoseVoter(v, m.ID).Reason)
		default:
			a.Kind = UpdatePeerURL
			a.Reason = fmt.Sprintf("%s holds the data of its member and is at %s now: its address is updated", n.Name, n.PeerURL)
			return a, true
		}
		waits = append(waits, a)
	}
	if len(waits) > 0 {
		return waits[0], false
	}
	return Action{}, false
}

// chain follows who has the address that the member is at. The holder is none
// if it is free; cycle says that each in the chain waits for the next, and the
// last for the first, so that none can begin.
func (v View) chain(p pairs, j int) (holder Member, cycle bool) {
	at := j
	for range v.Members {
		next := v.holder(v.Nodes[p.ofMember[at]].PeerURL)
		if next < 0 || next == j {
			return holder, next == j
		}
		if holder.ID == 0 {
			holder = v.Members[next]
		}
		if i := p.ofMember[next]; i < 0 || v.Nodes[i].Holds != v.Members[next].ID {
			break // it does not move
		}
		at = next
	}
	return holder, false
}

func (v View) holder(peerURL string) int {
	return slices.IndexFunc(v.Members, func(m Member) bool { return m.PeerURL == peerURL })
}

// mayReconnect: the change of an address makes the peers connect anew. That
// takes no vote away from one that could not be reached before; a healthy one
// is treated as one that is restarted, and one or two voters have no choice.
func mayReconnect(v View, m Member) bool {
	all, healthy := v.voters()
	return m.Learner || CanLoseVoter(v, m.ID).OK || (all <= 2 && healthy == all)
}
