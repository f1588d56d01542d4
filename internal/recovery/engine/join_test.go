package engine

import (
	"testing"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/recovery"
)

func TestNodeView(t *testing.T) {
	n := recovery.PlanNode{Name: "cp-2", PeerURL: "https://10.0.0.2:2380"}
	for _, c := range []struct {
		name string
		ns   *agentpb.NodeState
		want etcd.Node
	}{
		{"I23: dark", nil, etcd.Node{}},
		{"waits", &agentpb.NodeState{Guard: &agentpb.Guard{State: "waiting"}, DataDir: &agentpb.DataDir{State: "none"}}, etcd.Node{Waiting: true}},
		{"waits on data that was not set aside yet", &agentpb.NodeState{Guard: &agentpb.Guard{State: "waiting"}, DataDir: &agentpb.DataDir{State: "present", ClusterId: "old", MemberId: "2"}}, etcd.Node{}},
		{"P2: wiped", &agentpb.NodeState{Guard: &agentpb.Guard{State: "refused"}, DataDir: &agentpb.DataDir{State: "none"}}, etcd.Node{Wiped: true}},
		{"P20: data of the recovered cluster says whose it is", &agentpb.NodeState{DataDir: &agentpb.DataDir{State: "present", ClusterId: "c1", MemberId: "2a"}}, etcd.Node{Holds: 0x2a}},
		{"damaged data says nothing", &agentpb.NodeState{DataDir: &agentpb.DataDir{State: "damaged", ClusterId: "c1", MemberId: "2a"}}, etcd.Node{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Name, c.want.PeerURL = n.Name, n.PeerURL
			if got := nodeView(n, c.ns, "c1"); got != c.want {
				t.Fatalf("%+v", got)
			}
		})
	}
}
