// Package settings brings to every node what it is to know of the cluster's specification.
package settings

import (
	"time"

	"google.golang.org/protobuf/proto"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Wanted are the settings that a specification asks for.
func Wanted(s v1alpha1.EtcdClusterSpec) *agentpb.Settings {
	b := s.Backup
	return &agentpb.Settings{
		BackupLocation: b.Location, BackupRecipients: b.Recipients, BackupResources: b.Resources,
		LeafLife: int64(s.TLS.LeafLifetime.Duration / time.Second),
	}
}

// Decide answers which nodes lack them. It is pure. What a node has that does not answer is unknown: it is asked when it
// answers. While a recovery is open nothing is placed: where the backups are is what it works with (P17).
func Decide(o observe.Observation) (want *agentpb.Settings, behind []observe.Node) {
	if o.Cluster == nil || o.Cluster.Spec.ManagementState == v1alpha1.Unmanaged || o.StandBack() != "" {
		return nil, nil
	}
	want = Wanted(o.Cluster.Spec)
	for _, n := range o.Answering() {
		if n.Err == "" && !proto.Equal(n.State.GetSettings(), For(n, want)) {
			behind = append(behind, n)
		}
	}
	return want, behind
}

// For are the settings of one node: with the Node's InternalIP where the agent names another address, as only the agent
// can see whether that one is gone (P20). What was said before stays otherwise: it asks for nothing.
func For(n observe.Node, want *agentpb.Settings) *agentpb.Settings {
	out := proto.CloneOf(want)
	out.NodeAddress = n.State.GetSettings().GetNodeAddress()
	if n.Wanted && n.Address != "" && n.Address != n.State.GetAddress() {
		out.NodeAddress = n.Address
	}
	return out
}
