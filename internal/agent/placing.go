package agent

import (
	"fmt"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
)

// placing is what is asked before a revision is placed here.
type placing struct {
	// recovery is one whose journal is open, here or on a peer; hold and pending are of one that works on this node.
	recovery, hold, pending string
	fenced                  bool
	// asked is the cluster that the restart was decided on; cluster is this node's, "" where it has none.
	asked, cluster string
}

// decidePlacing says why nothing may be placed; "" if it may.
func decidePlacing(p placing) string {
	switch {
	case p.recovery != "":
		return "recovery " + p.recovery + " is open: nothing is rolled out until it has ended (P17); see `ceo status`"
	case p.hold != "":
		return "etcd here is held by " + p.hold + ": nothing is placed until it is released (P17)"
	case p.pending != "":
		return "recovery " + p.pending + " is swapping the data here: nothing is placed (P17)"
	case p.fenced:
		return "this node is fenced until its etcd is a member again: nothing is placed (P17)"
	case p.asked != "" && p.cluster != "" && p.asked != p.cluster:
		return fmt.Sprintf("the restart was decided on cluster %s, and this node is of cluster %s", p.asked, p.cluster)
	}
	return ""
}

// votersNow is the cluster as this node and its peers see it right now: under the lock, so that no other restart can begin.
// A peer that does not answer is unknown, and does not count as healthy (I23); neither does one whose new manifest does
// not run yet (P22). states are by the member's name.
func votersNow(members []etcd.Member, states map[string]*agentpb.NodeState) etcd.View {
	v := etcd.View{Members: append([]etcd.Member(nil), members...)}
	for i := range v.Members {
		m := &v.Members[i]
		s := states[m.Name]
		if m.Name == "" || s == nil {
			continue
		}
		m.Health = etcd.Unhealthy
		if serves(s.GetEtcd()) {
			m.Health = etcd.Healthy
		}
		r := s.GetRevisions()
		// An agent that knows nothing of revisions has placed none.
		m.Restarting = r != nil && (r.GetError() != "" || r.GetPlaced() != r.GetRunning())
	}
	return v
}

// serves: it answers, and has a leader.
func serves(e *agentpb.Etcd) bool { return e.GetAnswers() && e.GetHasLeader() }

// toRestart: what is placed here does not run yet, so its restart was decided and its vote is counted on no more (P22).
// Putting the manifest back costs nothing beyond that, and gives the vote back: it is not asked whether it can be missed.
func toRestart(s *agentpb.NodeState) bool {
	r := s.GetRevisions()
	return r != nil && r.GetError() == "" && r.GetPlaced() != r.GetRunning()
}

// mayRestart is CanLoseVoter; and where there are one or two voters, there is no other way than some seconds without.
func mayRestart(v etcd.View, name string) etcd.Verdict {
	var own etcd.Member
	v.Members = append([]etcd.Member(nil), v.Members...)
	for i := range v.Members {
		if m := &v.Members[i]; m.Name == name {
			// That it is about to restart anyway is no reason against another manifest.
			m.Restarting = false
			own = *m
		}
	}
	can := etcd.CanLoseVoter(v, own.ID)
	if all, healthy := v.Voters(); !can.OK && all <= 2 && healthy == all {
		return etcd.Verdict{OK: true, Reason: "with so few voters a restart stops etcd for some seconds, and there is no other way"}
	}
	return can
}
