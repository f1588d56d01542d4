package settings

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/operator/observe"
)

func TestDecide(t *testing.T) {
	yes := true
	cluster := &v1alpha1.EtcdCluster{Spec: v1alpha1.EtcdClusterSpec{
		Backup: v1alpha1.BackupSpec{Location: "s3://b/p", Recipients: []string{"age1x"}, Resources: &yes},
		TLS:    v1alpha1.TLSSpec{LeafLifetime: metav1.Duration{Duration: time.Hour}},
	}}
	same := func() *agentpb.Settings { return Wanted(cluster.Spec) }
	other := same()
	other.BackupLocation = "s3://b/old"
	unmanaged := cluster.DeepCopy()
	unmanaged.Spec.ManagementState = v1alpha1.Unmanaged
	node := func(s *agentpb.NodeState, err string) observe.Observation {
		return observe.Observation{Cluster: cluster, Nodes: []observe.Node{{Name: "cp-1", State: s, Err: err}}}
	}
	moved := func(said, nodes string, wanted bool) observe.Observation {
		had := same()
		had.NodeAddress = said
		o := node(&agentpb.NodeState{Address: "10.0.0.1", Settings: had}, "")
		o.Nodes[0].Address, o.Nodes[0].Wanted = nodes, wanted
		return o
	}
	for _, tt := range []struct {
		name string
		o    observe.Observation
		want int
	}{
		{"none placed", node(&agentpb.NodeState{}, ""), 1},
		{"there already: no call", node(&agentpb.NodeState{Settings: same()}, ""), 0},
		{"others", node(&agentpb.NodeState{Settings: other}, ""), 1},
		{"I23 it does not answer", node(nil, "dark"), 0},
		{"I23 what it said is old", node(&agentpb.NodeState{}, "dark"), 0},
		{"P17 a recovery is open", node(&agentpb.NodeState{Recovery: &agentpb.Recovery{Id: "r"}}, ""), 0},
		{"P20 the Node is elsewhere", moved("", "10.0.0.2", true), 1},
		{"P20 it was told", moved("10.0.0.2", "10.0.0.2", true), 0},
		{"P20 it is where the Node is, and was told before", moved("10.0.0.1", "10.0.0.1", true), 0},
		{"P20 it has moved again", moved("10.0.0.2", "10.0.0.3", true), 1},
		{"P20 no Node says where it is", moved("", "10.0.0.2", false), 0},
		{"unmanaged", observe.Observation{Cluster: unmanaged, Nodes: []observe.Node{{Name: "cp-1", State: &agentpb.NodeState{}}}}, 0},
		{"no EtcdCluster", observe.Observation{Nodes: []observe.Node{{Name: "cp-1", State: &agentpb.NodeState{}}}}, 0},
	} {
		if want, behind := Decide(tt.o); len(behind) != tt.want || tt.want > 0 && (want.GetLeafLife() != 3600 || want.GetBackupLocation() != "s3://b/p" || !want.GetBackupResources()) {
			t.Errorf("%s: %v %v", tt.name, want, behind)
		}
	}
}
