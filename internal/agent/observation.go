package agent

import (
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/recovery"
)

// observation turns what the agents said into what a plan is made of.
func observation(ob *agentpb.Observation) recovery.Observation {
	o := recovery.Observation{ClusterName: ob.GetClusterName(), Coordinator: ob.GetCoordinator(), At: ob.GetAt().AsTime()}
	for _, n := range ob.GetNodes() {
		o.Nodes = append(o.Nodes, observedNode(n))
	}
	return o
}

func observedNode(n *agentpb.NodeState) recovery.Node {
	d, e := n.GetDataDir(), n.GetEtcd()
	out := recovery.Node{
		Name: n.GetName(), Address: n.GetAddress(), PeerURL: n.GetPeerUrl(), Unreachable: n.GetUnreachable(),
		Lineage: lineageFromPB(n.GetLineage()), Served: n.GetServedRevision(),
		Data: recovery.Data{
			State: d.GetState(), Why: d.GetWhy(), ClusterID: d.GetClusterId(), MemberID: d.GetMemberId(),
			Members: observedMembers(d.GetMembers()), Revision: d.GetRevision(), DBSize: d.GetDbSize(),
		},
		Etcd: recovery.Etcd{
			Answers: e.GetAnswers(), HasLeader: e.GetHasLeader(), ClusterID: e.GetClusterId(), MemberID: e.GetMemberId(),
			Learner: e.GetLearner(), Revision: e.GetRevision(), Members: observedMembers(e.GetMembers()), Linearizable: e.GetMembersLinearizable(),
		},
		GuardedEtcd: n.GetGuard().GetInstalled(), EtcdVersion: n.GetEtcdVersion(), APIReady: n.GetApiServer().GetReady(),
		DiskFree: n.GetDisk().GetFree(), Hold: n.GetHoldId(), KubeletDown: n.GetKubelet().GetState() == "inactive",
	}
	if r := n.GetRecovery(); r != nil {
		out.OpenRecovery, out.OnlyJoining = r.GetId(), r.GetState() == stateJoining
	}
	return out
}

func observedMembers(ms []*agentpb.Member) []recovery.Member {
	var out []recovery.Member
	for _, m := range ms {
		x := recovery.Member{ID: m.GetId(), Name: m.GetName(), Learner: m.GetLearner()}
		if len(m.GetPeerUrls()) > 0 {
			x.PeerURL = m.GetPeerUrls()[0]
		}
		out = append(out, x)
	}
	return out
}

func planToPB(p recovery.Plan) *agentpb.Plan {
	out := &agentpb.Plan{
		Id: p.ID, ClusterName: p.ClusterName, Diagnosis: p.Diagnosis, Rejected: p.Rejected, Safety: p.Safety, MayLose: p.MayLose,
		Refused: p.Refused, RefusedKind: string(p.RefusedKind), Source: p.Source.Describe(),
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, &agentpb.Step{Id: s.ID, Node: s.Node, Text: s.Text, Undoable: s.Undo, PointOfNoReturn: s.NoUndo})
	}
	for _, r := range p.Risks {
		out.Risks = append(out.Risks, &agentpb.Risk{Name: r.Name, Text: r.Text})
	}
	return out
}
