// Package recovery decides how a dead control plane is brought back. Observe
// gathers into one value, Decide answers with a diagnosis and its reasons, and
// the plan is a value that is printed, hashed, saved and run. It does no I/O.
package recovery

import (
	"fmt"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// Observation is everything a plan is made of.
type Observation struct {
	ClusterName string
	// Coordinator is the recovery node: where the command was typed.
	Coordinator string
	Nodes       []Node
	// Sources are the candidates: the named one alone, or all that were found.
	Sources []Source
	// Named: a person named the source.
	Named bool
	At    time.Time
}

// Node is a control-plane node as its agent described it.
type Node struct {
	Name    string
	Address string
	PeerURL string
	// Unreachable is why its agent did not answer; nothing below is known then.
	Unreachable string
	Lineage     node.Lineage
	// Served is the highest revision that this node ever saw served.
	Served       int64
	Data         Data
	Etcd         Etcd
	GuardedEtcd  bool
	EtcdVersion  string
	APIReady     bool
	DiskFree     uint64
	Hold         string // id of what holds its etcd
	OpenRecovery string // id of a recovery it coordinates
	// OnlyJoining: that recovery has done all but bring dark nodes in.
	OnlyJoining bool
	KubeletDown bool
}

// Data is what the data dir says of itself.
type Data struct {
	// State is none, present, damaged or unknown.
	State     string
	Why       string
	ClusterID string
	MemberID  string
	Members   []Member
	Revision  int64
	DBSize    int64
}

// Etcd is what the node's etcd answered.
type Etcd struct {
	Answers   bool
	HasLeader bool
	ClusterID string
	MemberID  string
	Learner   bool
	Revision  int64
	Members   []Member
	// Linearizable: the member list came from a quorum, which proves that there
	// is one.
	Linearizable bool
}

// Member of a membership.
type Member struct {
	ID      string
	Name    string
	PeerURL string
	Learner bool
}

// Source is a snapshot that could be restored.
type Source struct {
	// Label is what a person calls it, Ref how the agent finds it.
	Label string
	Ref   string
	// Problem is why it cannot be used: it was verified and failed. Empty: it
	// was read whole and holds what is said below.
	Problem string
	// NeedsFlag is the flag that would accept it despite Problem.
	NeedsFlag   string
	SHA256      string
	Size        int64
	Revision    int64
	Keys        int64
	HashMissing bool
	// MemberNames and PeerURLs of the membership it holds: whose it is.
	MemberNames    []string
	StorageVersion string
	TakenAt        time.Time
	// Foreign is why it looks like another cluster's; OtherServiceAccountKey is
	// why tokens made with its key will not be valid here (P8). Both are known of
	// backups, whose manifest has fingerprints, and are empty else.
	Foreign                string
	OtherServiceAccountKey string
}

// Describe says in one line what it is.
func (s Source) Describe() string {
	if s.SHA256 == "" {
		return s.Label
	}
	return fmt.Sprintf("%s, rev %d, %d keys, %s, sha256 %.12s", s.Label, s.Revision, s.Keys, Bytes(uint64(max(0, s.Size))), s.SHA256)
}
