package client

import (
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/pki/rotation"
)

// RotationNodes is what rotation.Decide decides on, of what the agents report. The operator and the CLI share it, and so
// decide alike. A node where no change of the CA was begun reports none: it is the first step's.
func RotationNodes(states []*agentpb.NodeState) []rotation.Node {
	out := make([]rotation.Node, 0, len(states))
	for _, s := range states {
		ca := s.GetCa()
		n := rotation.Node{
			Name: s.GetName(), Unknown: s.GetUnreachable(), Trusted: ca.GetTrusted(), Signing: ca.GetSigning(), Target: ca.GetTarget(),
			EtcdTrusts: ca.GetEtcdTrusts(), APIServerStale: ca.GetApiServerStale(), Reason: ca.GetReason(),
			Leads: s.GetEtcd().GetHasLeader() && s.GetEtcd().GetLeaderId() == s.GetEtcd().GetMemberId(),
		}
		for _, problem := range []string{ca.GetError(), ca.GetEtcdError(), ca.GetApiServerError()} {
			if n.Unknown == "" {
				n.Unknown = problem
			}
		}
		for i, by := range ca.GetLeavesSignedBy() {
			l := rotation.Leaf{SignedBy: by}
			if i < len(ca.GetLeafNames()) {
				l.Name = ca.GetLeafNames()[i]
			}
			n.Leaves = append(n.Leaves, l)
		}
		out = append(out, n)
	}
	return out
}
