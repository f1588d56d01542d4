// Package guard decides, each time etcd is about to start on a node, whether
// the data that lies there may serve, and runs etcd as its child. The decision
// is a pure function of what was gathered (decide.go); everything else in the
// package is the thin shell around it.
package guard

import (
	"slices"

	"clusteretcd.io/ceo/internal/node"
)

// LocalState is what lies in the data dir.
type LocalState string

// The states of a data dir.
const (
	LocalNone    LocalState = "none"
	LocalPresent LocalState = "present"
	LocalDamaged LocalState = "damaged"
	// LocalUnreadable: it could not be looked at, which says nothing of the
	// data (I23).
	LocalUnreadable LocalState = "unreadable"
)

// Local is what the data dir on this node says of itself.
type Local struct {
	State LocalState `json:"state"`
	// Why explains a damaged or an absent data dir.
	Why string `json:"why,omitempty"`
	// InUse: another process has it open for writing.
	InUse bool `json:"inUse,omitempty"`
	// ClusterID and MemberID in etcd's hexadecimal form; of a damaged data dir
	// as far as they could be read.
	ClusterID string `json:"clusterID,omitempty"`
	MemberID  string `json:"memberID,omitempty"`
	// EpochKnown: a lineage names the cluster id. Without it the data is
	// foreign as soon as anything is recorded at all.
	EpochKnown bool  `json:"epochKnown,omitempty"`
	Epoch      int64 `json:"epoch"`
	// Name and PeerURLs are those of the member that wrote the data, as the
	// data itself tells; empty if it does not (a member that never published).
	Name     string   `json:"name,omitempty"`
	PeerURLs []string `json:"peerURLs,omitempty"`
	// Members is the membership that the data dir itself holds: as old as the
	// data, good for addresses only.
	Members []Member `json:"-"`
}

// Member is a member of a cluster as a list names it.
type Member struct {
	ID         string   `json:"id"`
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	IsLearner  bool     `json:"isLearner,omitempty"`
	// Started: the member has published its name at least once.
	Started bool `json:"started"`
}

// Peers is the one view of the other members that counts; MergeViews makes it.
type Peers struct {
	// Reachable: some peer's etcd answered with a member list.
	Reachable  bool   `json:"reachable"`
	ClusterID  string `json:"clusterID,omitempty"`
	EpochKnown bool   `json:"epochKnown,omitempty"`
	Epoch      int64  `json:"epoch"`
	// Members as listed. Only a Linearizable list says who was removed or has
	// never started: a member that is behind tells an old tale.
	Members      []Member `json:"members,omitempty"`
	Linearizable bool     `json:"linearizable,omitempty"`
	// Conflict: what was seen contradicts itself; names both sides.
	Conflict string `json:"conflict,omitempty"`
}

// Recorded is the newest epoch that is known anywhere: in this node's
// node.json or with a peer agent.
type Recorded struct {
	Known     bool   `json:"known"`
	Epoch     int64  `json:"epoch"`
	ClusterID string `json:"clusterID,omitempty"`
}

// Self is this node as etcd's flags name it.
type Self struct {
	Name    string `json:"name"`
	PeerURL string `json:"peerURL"`
}

// Input is everything that a decision depends on.
type Input struct {
	Local    Local
	Peers    Peers
	Recorded Recorded
	Intent   node.Intent
	Hold     *node.Hold
	Self     Self
	// Flags says what in etcd's own flags makes a safe start impossible, in
	// words; empty if nothing does.
	Flags string
	// Token is a fresh random token, used by a bootstrap only (P1).
	Token string
}

// owns reports whether the data of a member with this name and these URLs is
// this node's. One of the two is enough: an address may change (P20), and so
// may a host's name.
func (s Self) owns(name string, urls []string) bool {
	return name == s.Name || slices.Contains(urls, s.PeerURL)
}

// member finds a member by its id.
func (p Peers) member(id string) (Member, bool) {
	i := slices.IndexFunc(p.Members, func(m Member) bool { return id != "" && m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return p.Members[i], true
}

// added is the unstarted entry that waits for this node.
func (p Peers) added(s Self) (Member, bool) {
	i := slices.IndexFunc(p.Members, func(m Member) bool {
		return !m.Started && slices.Contains(m.PeerURLs, s.PeerURL)
	})
	if i < 0 {
		return Member{}, false
	}
	return p.Members[i], true
}

// started is the member that has run under this node's name or address.
func (p Peers) started(s Self) (Member, bool) {
	i := slices.IndexFunc(p.Members, func(m Member) bool { return m.Started && s.owns(m.Name, m.PeerURLs) })
	if i < 0 {
		return Member{}, false
	}
	return p.Members[i], true
}
