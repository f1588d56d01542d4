package rollout

import (
	"fmt"

	"clusteretcd.io/ceo/internal/etcd"
)

// nextRestart picks among the nodes that do not have the target: first those
// without a member, which nobody misses; then members that say themselves that
// they are not well, for whom the revision may be the cure; then followers;
// then the leader, after it has handed over.
func (v View) nextRestart() Action {
	for _, n := range v.Nodes {
		if !n.Answers {
			// It may be in the middle of a restart.
			return Action{Kind: Wait, Node: n.Name, Revision: v.Target, Reason: "the agent of " + n.Name + " does not answer, and what its etcd is about to do is not known: nothing is restarted until it answers, or its Node is deleted (I23)"}
		}
	}
	var wait Action
	best, rank := Action{}, 5
	for _, n := range v.Nodes {
		if n.Leaving || n.Placed == v.Target {
			continue
		}
		a, r := v.restart(n)
		switch {
		case a.Kind == Wait && wait.Kind == "":
			wait = a
		case a.Kind != Wait && r < rank:
			best, rank = a, r
		}
	}
	if best.Kind != "" {
		return best
	}
	if wait.Kind == "" {
		// Placed everywhere; underWay had nothing to wait for.
		return Action{Kind: Wait, Revision: v.Target, Reason: fmt.Sprintf("revision %s is placed everywhere and does not run everywhere yet", v.Target)}
	}
	return wait
}

func (v View) restart(n Node) (a Action, rank int) {
	a = Action{Kind: Wait, Node: n.Name, Revision: v.Target}
	m, ok := v.Cluster.MemberOf(n.Name)
	a.MemberID = m.ID
	switch {
	case !ok:
		a.Kind, a.Reason = Restart, fmt.Sprintf("%s has no member yet: revision %s costs no vote", n.Name, v.Target)
		return a, 1
	case m.Health == etcd.Unknown:
		a.Reason = fmt.Sprintf("the state of the member on %s is not known: it is not restarted (I23)", n.Name)
		return a, 0
	}
	if can := v.mayRestart(m); !can.OK {
		a.Reason = fmt.Sprintf("%s is to get revision %s, but %s", n.Name, v.Target, can.Reason)
		return a, 0
	}
	all, _ := v.Cluster.Voters()
	switch {
	case m.Health == etcd.Unhealthy:
		a.Kind, a.Ill, a.Reason = Restart, true, fmt.Sprintf("%s is not healthy and gets revision %s first: that costs no vote", n.Name, v.Target)
		return a, 2
	case v.Cluster.Leader == 0 && all > 1:
		a.Reason = "no leader is known: nothing is restarted until there is one"
		return a, 0
	case v.Cluster.Leader != m.ID || all == 1:
		a.Kind, a.Reason = Restart, fmt.Sprintf("%s runs revision %s, and %s is wanted", n.Name, or(n.Running, "none of ours"), v.Target)
		return a, 3
	}
	to, ok := v.successor(m.ID)
	if !ok {
		a.Reason = n.Name + " leads, and there is no healthy voter to take over"
		return a, 0
	}
	a.Kind, a.To = MoveLeader, to.ID
	a.Reason = fmt.Sprintf("%s leads and is the last to be restarted: the leadership is handed to %s first", n.Name, v.Cluster.Label(to.ID))
	return a, 4
}

// successor is preferably one that has the target already: it is not restarted
// any more, so the leadership moves once.
func (v View) successor(from uint64) (etcd.Member, bool) {
	current := map[uint64]bool{}
	for _, n := range v.Nodes {
		if m, ok := v.Cluster.MemberOf(n.Name); ok && n.Running == v.Target {
			current[m.ID] = true
		}
	}
	if m, ok := etcd.Successor(v.Cluster, from, func(m etcd.Member) bool { return current[m.ID] }); ok {
		return m, true
	}
	return etcd.Successor(v.Cluster, from, nil)
}

// mayRestart is CanLoseVoter, and the accepted downtime of one or two voters.
func (v View) mayRestart(m etcd.Member) etcd.Verdict {
	can := etcd.CanLoseVoter(v.Cluster, m.ID)
	if all, healthy := v.Cluster.Voters(); !can.OK && v.AcceptDowntime && all <= 2 && healthy == all {
		return etcd.Verdict{OK: true, Reason: fmt.Sprintf("etcd has %d voter(s), and some seconds without it are accepted", all)}
	}
	return can
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
