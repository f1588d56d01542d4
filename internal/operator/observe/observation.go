// Package observe gathers what every controller decides of into one value: what the agents say, the control-plane Nodes
// and the EtcdCluster. It changes nothing.
package observe

import (
	"fmt"
	"strings"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/etcd"
)

// Observation is one look at everything. It is not changed once it is made.
type Observation struct {
	At time.Time
	// Cluster is nil where nobody has made the EtcdCluster.
	Cluster *v1alpha1.EtcdCluster
	// Nodes by name: the Nodes that are to have a member, and every node that an agent names as its peer.
	Nodes   []Node
	Backups Backups
	// ProofAge is how old the newest proof may be; 0: as where no schedule proves anything.
	ProofAge time.Duration
}

// Node is one control-plane node.
type Node struct {
	Name    string
	Address string
	// Wanted: a Node of the API that the selector picks. The others were named by agents: a node that leaves, a
	// bootstrap member, a Node that somebody deleted.
	Wanted bool
	// LeftOut: a Node of the API with the label of control-plane nodes, which the selector does not pick. One that lost
	// that label leaves; one that has it is more likely a selector that somebody got wrong.
	LeftOut bool
	// State is what its agent says; nil is unknown, never dead (I23). A single look that fails leaves the last answer
	// in place for a while, so that one lost packet is no news.
	State *agentpb.NodeState
	// Err is why the last look failed, in words that stay the same for as long as the cause does.
	Err string
}

// Backups is what the catalogues hold. They are read more rarely than the rest: a store may be far away.
type Backups struct {
	// Read: at least one catalogue was read; nothing is known otherwise.
	Read bool
	// Newest and Proven are the newest good backup and the newest one that was proven, of all catalogues.
	Newest, Proven *backup.Entry
	// Err is why a catalogue could not be read.
	Err string
}

// Node by its name.
func (o Observation) Node(name string) (Node, bool) {
	for _, n := range o.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// LeftOut is why the selector cannot be meant so: it leaves out a control-plane node that holds a member.
func (o Observation) LeftOut(m Membership) string {
	for _, x := range m.Members {
		if n, ok := o.Node(x.Node); ok && n.LeftOut {
			return fmt.Sprintf("spec.nodeSelector leaves out %s, which is a control-plane node and holds a member: nothing is removed or rolled out for it; "+
				"correct the selector, or take the label node-role.kubernetes.io/control-plane off %s if its member is to go", n.Name, n.Name)
		}
	}
	return ""
}

// Answering are the nodes whose agents answered.
func (o Observation) Answering() []Node {
	var out []Node
	for _, n := range o.Nodes {
		if n.State != nil {
			out = append(out, n)
		}
	}
	return out
}

// OpenRecovery is the recovery whose journal is open on any agent, with the node of it.
func (o Observation) OpenRecovery() (*agentpb.Recovery, string) {
	for _, n := range o.Nodes {
		if r := n.State.GetRecovery(); r.GetId() != "" {
			return r, n.Name
		}
	}
	return nil, ""
}

// Pause is why nothing is to be changed, as every decision asks it (P17). With less than a majority of the known agents
// answering, an open recovery cannot be ruled out: it is in an outage that recoveries are run, and that agents are dark.
func (o Observation) Pause() etcd.Pause {
	var p etcd.Pause
	if r, _ := o.OpenRecovery(); r != nil {
		p.Recovery = r.GetId()
	}
	p.Unmanaged = o.Cluster != nil && o.Cluster.Spec.ManagementState == v1alpha1.Unmanaged
	var dark []string
	for _, n := range o.Nodes {
		if n.State == nil {
			dark = append(dark, n.Name)
		}
	}
	switch answering := len(o.Nodes) - len(dark); {
	case len(o.Nodes) == 0:
		p.Unread = "no control-plane node is known"
	case answering < etcd.Quorum(len(o.Nodes)):
		p.Unread = fmt.Sprintf("only %d of %d agents answer; not those of %s", answering, len(o.Nodes), strings.Join(dark, ", "))
	}
	return p
}

// StandBack is why a controller that only reads etcd and its backups stands back all the same: a recovery is open (P17).
// Empty: it does not.
func (o Observation) StandBack() string {
	if r, node := o.OpenRecovery(); r != nil {
		return fmt.Sprintf("recovery %s is open on %s; everything else waits until it has ended: see `ceo status`", r.GetId(), node)
	}
	return ""
}
