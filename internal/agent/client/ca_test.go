package client

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/pki/rotation"
)

func TestRotationNodes(t *testing.T) {
	done := func() *agentpb.CAState {
		return &agentpb.CAState{Trusted: []string{"new"}, Signing: "new", Target: "new", EtcdTrusts: []string{"new"}, LeavesSignedBy: []string{"new"}, LeafNames: []string{"etcd/peer"}}
	}
	with := func(f func(*agentpb.CAState)) *agentpb.CAState {
		s := done()
		f(s)
		return s
	}
	for name, row := range map[string]struct {
		state *agentpb.NodeState
		want  rotation.Kind
		why   string
	}{
		"done":                          {&agentpb.NodeState{Ca: done()}, rotation.Done, ""},
		"none was begun":                {&agentpb.NodeState{}, rotation.Trust, ""},
		"I23: the agent is silent":      {&agentpb.NodeState{Unreachable: "time-out"}, rotation.Wait, "time-out"},
		"I23: etcd is silent":           {&agentpb.NodeState{Ca: with(func(s *agentpb.CAState) { s.EtcdError = "refused" })}, rotation.Wait, "refused"},
		"I23: the runtime is silent":    {&agentpb.NodeState{Ca: with(func(s *agentpb.CAState) { s.ApiServerError = "no socket" })}, rotation.Wait, "no socket"},
		"the files cannot be read":      {&agentpb.NodeState{Ca: &agentpb.CAState{Error: "torn"}}, rotation.Wait, "torn"},
		"etcd owes a restart":           {&agentpb.NodeState{Ca: with(func(s *agentpb.CAState) { s.EtcdTrusts = []string{"old", "new"} })}, rotation.RestartEtcd, ""},
		"kube-apiserver owes one":       {&agentpb.NodeState{Ca: with(func(s *agentpb.CAState) { s.ApiServerStale = true })}, rotation.RestartAPIServer, ""},
		"a leaf of the old CA, by name": {&agentpb.NodeState{Ca: with(func(s *agentpb.CAState) { s.LeavesSignedBy[0] = "old" })}, rotation.Sign, "etcd/peer"},
	} {
		t.Run(name, func(t *testing.T) {
			row.state.Name = "cp-1"
			if got := rotation.Decide("new", RotationNodes([]*agentpb.NodeState{row.state})); got.Kind != row.want || !strings.Contains(got.Reason, row.why) {
				t.Errorf("%+v", got)
			}
		})
	}
}
