package etcd

import "fmt"

// decideLearner finishes the change in flight (I7).
func decideLearner(v View, p pairs) (Action, bool) {
	for j, m := range v.Members {
		if m.Learner {
			return finish(v, p, j), true
		}
	}
	return Action{}, false
}

func finish(v View, p pairs, j int) Action {
	m := v.Members[j]
	a := Action{Kind: Wait, MemberID: m.ID}
	i := p.ofMember[j]
	if i < 0 {
		a.PeerURL = m.PeerURL
		if _, not := lostNode(v, p, j); not != "" {
			a.Reason = not
			return a
		}
		a.Kind, a.Reason = Remove, "no node stands for the learner at "+m.PeerURL
		return a
	}
	n := v.Nodes[i]
	a.Node = n.Name
	can := CanGrow(v)
	switch {
	case stuck(v, p, j):
		a.Kind, a.PeerURL = Remove, m.PeerURL
		a.Reason = fmt.Sprintf("the learner on %s has not been healthy for %s, and other nodes wait: it is removed, which costs no vote, and added again when it waits", n.Name, v.UnhealthyTimeout)
	case !m.Started():
		a.Reason = "the learner on " + n.Name + " was added and has not started yet"
	case m.Restarting:
		a.Reason = "the learner on " + n.Name + " is about to be restarted, or its agent does not answer: it is promoted after that (P22)"
	case m.Corrupt || m.Health != Healthy || !m.CaughtUp:
		a.Reason = "the learner on " + n.Name + " is catching up"
	case !can.OK:
		a.Reason = "the learner on " + n.Name + " has caught up and is promoted later: " + can.Reason
	default:
		a.Kind, a.Reason = Promote, "the learner on "+n.Name+" has applied what the leader had"
	}
	return a
}

// stuck: the learner has had its time, and holds another node up.
func stuck(v View, p pairs, j int) bool {
	m := v.Members[j]
	if v.UnhealthyTimeout <= 0 || m.Health == Healthy || m.UnhealthyFor < v.UnhealthyTimeout {
		return false
	}
	for i, n := range v.Nodes {
		if n.Waiting && p.ofNode[i] < 0 {
			return true
		}
	}
	return false
}
