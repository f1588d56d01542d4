package ui

import (
	"strings"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/recovery"
)

// The roles of a member that answers.
const (
	leader   = "leader"
	follower = "follower"
	learner  = "learner"
)

// otherCluster is the health of a member that serves another cluster.
const otherCluster = "other cluster"

// nodeRow says of one node what its agent said.
func nodeRow(n *agentpb.NodeState, ms members) NodeView {
	e, d, m := n.GetEtcd(), n.GetDataDir(), ms.of(n)
	r := NodeView{
		Name: n.GetName(), MemberID: m.GetId(), Voter: !m.GetLearner(), PeerURL: n.GetPeerUrl(),
		CeoVersion: n.GetCeoVersion(), Held: n.GetHoldId(), Guard: guardView(n.GetGuard()),
	}
	if n.GetUnreachable() != "" {
		r.Unreachable = true
		r.Health, r.Detail = "unreachable", "agent: "+strings.Replace(strings.TrimPrefix(n.GetUnreachable(), "its agent "), "transport: Error while dialing: ", "", 1)
		return r
	}
	if k := n.GetKubelet().GetState(); k == "inactive" || k == "failed" {
		r.Kubelet = k
	}
	if e.GetAnswers() {
		r.MemberID, r.DBSize, r.DBInUse, r.RaftIndex, r.Revision = e.GetMemberId(), e.GetDbSize(), e.GetDbInUse(), e.GetRaftIndex(), e.GetRevision()
		if a := e.GetRaftAppliedIndex(); a > 0 {
			r.RaftIndex = a
		}
		switch {
		case e.GetLearner():
			r.Role, r.Voter = learner, false
		case e.GetHasLeader() && e.GetLeaderId() == e.GetMemberId():
			r.Role = leader
		default:
			r.Role = follower
		}
	} else if r.MemberID == "" {
		r.MemberID = d.GetMemberId()
	}
	r.Health, r.Detail, r.Ok = health(n, m, ms)
	return r
}

// health in a word, with the detail of who saw it.
func health(n *agentpb.NodeState, m *agentpb.Member, ms members) (word, detail string, ok bool) {
	e, d, g := n.GetEtcd(), n.GetDataDir(), n.GetGuard()
	switch {
	case n.GetHoldId() != "":
		if id, is := strings.CutPrefix(n.GetHoldId(), recovery.HoldPrefix); is {
			return "held", "by recovery " + id, false
		}
		return "held", "by " + n.GetHoldId() + ": " + n.GetHoldReason(), false
	case e.GetAnswers() && ms.clusterID != "" && e.GetClusterId() != ms.clusterID:
		return otherCluster, "its etcd serves cluster " + e.GetClusterId() + ", and the others serve " + ms.clusterID, false
	case e.GetAnswers() && !e.GetHasLeader():
		// etcd lists that among its errors, too: it is no alarm.
		return "no leader", "", false
	case e.GetAnswers() && len(e.GetAlarms()) > 0:
		return "alarm", strings.Join(e.GetAlarms(), ", "), false
	case e.GetAnswers():
		return "healthy", "", true
	case d.GetState() == "damaged":
		return "damaged", d.GetWhy(), false
	case d.GetState() == "none" && m != nil && m.GetName() == "":
		return "joins", "added, its etcd has not started yet", false
	case d.GetState() == "none" && m == nil && len(ms.members) > 0 && g.GetState() == "waiting":
		return "waits", "to be added to the cluster", false
	case d.GetState() == "none":
		return "data lost", "no member directory in " + d.GetPath(), false
	case d.GetState() == "unknown":
		return "data unknown", d.GetWhy(), false
	case g.GetState() == "refused":
		return "refused", "its guard does not start etcd", false
	case g.GetState() == "waiting":
		return "waits", "its guard does not start etcd yet", false
	case g.GetInstalled() && g.GetState() == "":
		return "down", "its etcd container does not run", false
	}
	return "down", strings.TrimPrefix(e.GetError(), "etcd "), false
}

func guardView(g *agentpb.Guard) *GuardView {
	if g == nil {
		return nil
	}
	return &GuardView{Installed: g.GetInstalled(), State: g.GetState(), Answer: g.GetAnswer(), Reason: g.GetReason(), Error: g.GetError()}
}

// strayRow is a member that no known node stands for.
func strayRow(m *agentpb.Member) NodeView {
	r := NodeView{Name: m.GetName(), MemberID: m.GetId(), Voter: !m.GetLearner(), Health: "unknown", Detail: "no agent of this node is known: `ceo node install` on it"}
	if len(m.GetPeerUrls()) > 0 {
		r.PeerURL = m.GetPeerUrls()[0]
	}
	if r.Name == "" {
		r.Name, r.Detail = "?", "added for "+r.PeerURL+", never started"
	}
	return r
}
