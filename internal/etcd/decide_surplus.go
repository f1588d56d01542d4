package etcd

import "fmt"

// decideSurplus removes a healthy member that no node stands for, the
// bootstrap member for one, once every node has its voter and these carry the
// quorum alone, or there is no room for the next. Followers go before the leader.
func decideSurplus(v View, p pairs) (Action, bool) {
	pick := -1
	for j, m := range v.Members {
		if p.ofMember[j] >= 0 || m.Health != Healthy {
			continue
		}
		if pick < 0 || v.Members[pick].ID == v.Leader {
			pick = j
		}
	}
	if pick < 0 {
		return Action{}, false
	}
	m := v.Members[pick]
	a := Action{Kind: Wait, MemberID: m.ID, PeerURL: m.PeerURL}
	for i, n := range v.Nodes {
		if p.ofNode[i] < 0 && len(v.Members) < MaxVoters {
			return Action{Kind: Wait, Node: n.Name, Reason: fmt.Sprintf("the member at %s goes once %s has its own", m.PeerURL, n.Name)}, true
		}
	}
	if can := CanRemoveVoter(v, m.ID); !can.OK {
		a.Reason = fmt.Sprintf("the member at %s is not wanted, but %s", m.PeerURL, can.Reason)
		return a, true
	}
	if v.Leader == m.ID {
		return handOver(v, a, m), true
	}
	a.Kind, a.Reason = Remove, fmt.Sprintf("no node stands for the member at %s, and the others carry the quorum", m.PeerURL)
	return a, true
}
