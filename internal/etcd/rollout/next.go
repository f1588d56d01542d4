package rollout

import (
	"fmt"
	"time"

	"clusteretcd.io/ceo/internal/etcd"
)

// Next answers what is to be done next. It restarts a voter only if the healthy
// rest carries the quorum (I6), with no other restart and no change of the
// membership under way (I7, P22), and never one of which nothing is known (I23).
func Next(v View) Action {
	if may := v.Cluster.Pause.MayAct(); !may.OK {
		return Action{Kind: Wait, Reason: may.Reason}
	}
	if v.Target == "" {
		return Action{Kind: Wait, Reason: "no revision is rendered yet"}
	}
	for _, n := range v.Nodes {
		if a, ok := v.underWay(n); ok {
			return a
		}
	}
	for _, n := range v.Nodes {
		if n.RolledBackFrom == v.Target && !n.Leaving {
			return Action{Kind: Stopped, Node: n.Name, Revision: v.Target, Reason: fmt.Sprintf(
				"%s was not healthy with revision %s and was put back to %s: the roll-out stopped. See `crictl logs` of etcd on %s, then change the spec", n.Name, v.Target, n.Placed, n.Name)}
		}
	}
	if !v.outdated() {
		return v.finished()
	}
	all, healthy := v.Cluster.Voters()
	if q := etcd.Quorum(all); healthy < q {
		return Action{Kind: Wait, Reason: fmt.Sprintf("%d of %d voters are healthy, and nothing is restarted with fewer than %d", healthy, all, q)}
	}
	if l, ok := v.Cluster.Learner(); ok {
		// One that does not come up with what it has would hold up both this and
		// the membership for ever. It has no vote to lose.
		for _, n := range v.Nodes {
			if m, ok := v.Cluster.MemberOf(n.Name); ok && m.ID == l.ID && m.Health == etcd.Unhealthy && n.Answers && !n.Leaving && n.Placed != v.Target {
				a, _ := v.restart(n)
				return a
			}
		}
		return Action{Kind: Wait, MemberID: l.ID, Reason: "a learner is on its way, and the membership changes first (I7)"}
	}
	return v.nextRestart()
}

// underWay looks after the node that was restarted last: it is healthy with
// what was placed, or it is waited for, or it is put back.
func (v View) underWay(n Node) (Action, bool) {
	if !n.Answers || n.Placed == "" {
		return Action{}, false
	}
	m, known := v.Cluster.MemberOf(n.Name)
	runs := n.Running == n.Placed
	switch {
	case runs && (!known || m.Health == etcd.Healthy):
		return Action{}, false
	case runs && n.Placed == n.LastGood:
		// Its revision is good, so something else ails it; that is no roll-out's
		// to mend, and Restart asks whether the others can be touched.
		return Action{}, false
	}
	a := Action{Kind: Wait, Node: n.Name, MemberID: m.ID, Revision: n.Placed}
	what := "is not healthy with it yet"
	if !runs {
		what = "does not run it yet"
	}
	if n.PlacedFor < v.Bound {
		a.Reason = fmt.Sprintf("revision %s was placed on %s %s ago, and it %s; it has %s", n.Placed, n.Name, n.PlacedFor.Round(time.Second), what, v.Bound)
		return a, true
	}
	if known && m.Health == etcd.Unknown && runs {
		a.Reason = fmt.Sprintf("revision %s runs on %s, but its member cannot be reached from here: that says nothing about the revision (I23)", n.Placed, n.Name)
		return a, true
	}
	all, healthy := v.Cluster.Voters()
	quorate := healthy >= etcd.Quorum(all)
	// It was ill before, so the others show whether the revision is good; without
	// a quorum they cannot, and this member may be the one that is missed.
	if runs && n.Ill && quorate && !v.refuted(n.Placed) {
		return Action{}, false
	}
	if n.LastGood == "" || n.LastGood == n.Placed {
		if n.Placed != v.Target {
			return Action{}, false // another revision is wanted: it may be the cure
		}
		a.Kind, a.Reason = Stopped, fmt.Sprintf("%s %s after %s, and there is no revision that it was healthy with before: the roll-out stopped. See `crictl logs` of etcd on %s", n.Name, what, v.Bound, n.Name)
		return a, true
	}
	a.Kind, a.Revision, a.Unlocked = RollBack, n.LastGood, !quorate
	a.Reason = fmt.Sprintf("%s %s after %s with revision %s: it is put back to %s, and the roll-out stops", n.Name, what, v.Bound, n.Placed, n.LastGood)
	if known && m.Health == etcd.Healthy {
		// What runs is still the one of before. Its vote is counted on no more, and
		// its restart was decided (P22): putting the manifest back costs nothing
		// beyond that, whoever else is ill, and gives the vote back. To wait until
		// it can be missed could be for ever: it is what the quorum may lack. It
		// serves, so there is a lock to be had.
		a.Unlocked = false
	}
	return a, true
}

// refuted: a node that was healthy before was not with this revision.
func (v View) refuted(revision string) bool {
	for _, n := range v.Nodes {
		if n.RolledBackFrom == revision {
			return true
		}
	}
	return false
}

func (v View) outdated() bool {
	for _, n := range v.Nodes {
		if !n.Leaving && (!n.Answers || n.Placed != v.Target || n.Running != v.Target) {
			return true
		}
	}
	return false
}

// finished: all run the target. Whoever is not healthy with it although it is
// its last good one ails of something else, and the roll-out is over all the
// same.
func (v View) finished() Action {
	for _, n := range v.Nodes {
		if m, ok := v.Cluster.MemberOf(n.Name); ok && m.Health != etcd.Healthy {
			return Action{Kind: Done, Reason: fmt.Sprintf("every node runs revision %s; %s is %s for another reason", v.Target, n.Name, m.Health)}
		}
	}
	return Action{Kind: Done, Reason: fmt.Sprintf("every node runs revision %s and is healthy", v.Target)}
}
