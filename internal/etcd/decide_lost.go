package etcd

import (
	"fmt"
	"time"
)

// decideLost takes members away that will not come back as they are: a disk
// that was wiped, data that is corrupt, a machine that was replaced, a node
// that is gone. None of them counts for the quorum any more, so each removal
// makes it easier to reach, and the node, where there is one, is added again.
func decideLost(v View, p pairs) (Action, bool) {
	var waits []Action
	for _, lost := range []func(View, pairs, int) (string, string){lostDisk, lostData, lostMachine, lostNode} {
		for j, m := range v.Members {
			why, not := lost(v, p, j)
			if why == "" && not == "" {
				continue
			}
			a := Action{Kind: Wait, Node: p.nodeName(v, j), MemberID: m.ID, PeerURL: m.PeerURL, Reason: not}
			if not == "" {
				if a = remove(v, a, m, why); a.Changes() {
					return a, true
				}
			}
			waits = append(waits, a)
		}
	}
	if len(waits) > 0 {
		return waits[0], false
	}
	return Action{}, false
}

// remove is the removal, or what has to come before it.
func remove(v View, a Action, m Member, why string) Action {
	if m.Voter() {
		if can := CanRemoveVoter(v, m.ID); !can.OK {
			a.Reason = why + ", but " + can.Reason
			return a
		}
		if v.Leader == m.ID && m.Health == Healthy {
			return handOver(v, a, m)
		}
	}
	a.Kind, a.Reason = Remove, why
	return a
}

// handOver moves the leadership off a member that is to go: a removed leader
// leaves the others to notice, which stops writes for an election's time. It
// goes to one that stays, if there is any.
func handOver(v View, a Action, m Member) Action {
	p := v.pair()
	to, ok := Successor(v, m.ID, func(o Member) bool {
		for j := range v.Members {
			if v.Members[j].ID == o.ID {
				return p.ofMember[j] >= 0
			}
		}
		return false
	})
	if !ok {
		to, ok = Successor(v, m.ID, nil)
	}
	if !ok {
		a.Kind, a.Reason = Wait, label(m)+" leads, and there is no healthy voter to take over before it goes"
		return a
	}
	a.Kind, a.To = MoveLeader, to.ID
	a.Reason = fmt.Sprintf("%s leads and is to go: the leadership is handed to %s first", label(m), label(to))
	return a
}

func (p pairs) nodeName(v View, member int) string {
	if i := p.ofMember[member]; i >= 0 {
		return v.Nodes[i].Name
	}
	return ""
}

// Each of the following says why the member is lost, or why it is not yet
// counted so; neither where it does not concern it.

func lostDisk(v View, p pairs, j int) (why, not string) {
	m, i := v.Members[j], p.ofMember[j]
	if i < 0 || !v.Nodes[i].Wiped || !m.Started() {
		return "", ""
	}
	n := v.Nodes[i]
	if m.Health == Healthy {
		return "", fmt.Sprintf("%s says that it lost its data, but its member is seen healthy: one of them is an old word, and nothing is done on it", n.Name)
	}
	if n.PeerURL != m.PeerURL {
		return lostMachine(v, p, j)
	}
	return n.Name + " lost its data and must not start under its old id (P2): it is removed and added again", ""
}

func lostData(v View, p pairs, j int) (why, not string) {
	m := v.Members[j]
	if !m.Corrupt {
		return "", ""
	}
	return label(m) + " holds data that differs from the others': it is removed and added again", ""
}

// lostMachine: another machine bears the name of this member's node. It answers
// at another address and has nothing. The old machine may only be cut off, so
// the member has its time before it is given up.
func lostMachine(v View, p pairs, j int) (why, not string) {
	m, i := v.Members[j], p.ofMember[j]
	if i < 0 || !m.Started() {
		return "", ""
	}
	n := v.Nodes[i]
	if n.PeerURL == m.PeerURL || n.Holds != 0 || (!n.Waiting && !n.Wiped) {
		return "", ""
	}
	switch {
	case m.Health == Healthy:
		return "", fmt.Sprintf("a machine named %s is at %s without data, while the member %s at %s is healthy: two machines have one name. Rename one", n.Name, n.PeerURL, m.Name, m.PeerURL)
	case m.UnhealthyFor < v.UnhealthyTimeout:
		return "", fmt.Sprintf("%s was replaced by a machine at %s; its former member has not been seen for %s and goes after %s", n.Name, n.PeerURL, short(m.UnhealthyFor), v.UnhealthyTimeout)
	}
	return fmt.Sprintf("%s was replaced by a machine at %s, which has no data; the former member at %s is removed, and %s added", n.Name, n.PeerURL, m.PeerURL, n.Name), ""
}

// lostNode: no node stands for the member, and it is not seen healthy. One that is
// healthy goes in order, once it can be missed: see decideSurplus.
func lostNode(v View, p pairs, j int) (why, not string) {
	m := v.Members[j]
	if p.ofMember[j] >= 0 || m.Health == Healthy {
		return "", ""
	}
	if since := min(m.UnhealthyFor, m.UnwantedFor); since < v.UnhealthyTimeout {
		return "", fmt.Sprintf("no node stands for %s, and it is not seen healthy; it goes after %s, and that is %s so far", label(m), v.UnhealthyTimeout, short(since))
	}
	if m.Learner {
		return "no node stands for the learner at " + m.PeerURL, ""
	}
	if v.UnhealthyTimeout <= 0 {
		// A recovery sets no time-out. A voter that it cannot see may be of a node that has just joined (I23): it is given
		// up only once every node has its own.
		for i, n := range v.Nodes {
			if p.ofNode[i] < 0 {
				return "", fmt.Sprintf("no node stands for %s, and it is not seen healthy; it goes once %s has its own member", label(m), n.Name)
			}
		}
	}
	return fmt.Sprintf("no node stands for %s at %s, and it has not been healthy for %s", label(m), m.PeerURL, v.UnhealthyTimeout), ""
}

func short(d time.Duration) time.Duration { return d.Round(time.Second) }
