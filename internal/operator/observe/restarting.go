package observe

import "clusteretcd.io/ceo/internal/agent/agentpb"

// restarting: a new manifest lies on the node, and its container is still the one of before (P22). Where the agent could
// not ask the container runtime, that is not known; whoever restarts something asks for it then.
func restarting(s *agentpb.NodeState) bool {
	r := s.GetRevisions()
	return r != nil && r.GetError() == "" && r.GetPlaced() != r.GetRunning()
}
