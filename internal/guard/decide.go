package guard

import "fmt"

// Answer is what the guard does with etcd.
type Answer string

// The answers. Wait, Refuse and Hold are all asked again and again: they
// differ in who can end them. A Wait ends by itself, a Refuse needs a person or
// the operator, a Hold needs the one who asked for it.
const (
	Start     Answer = "Start"
	Join      Answer = "Join"
	Bootstrap Answer = "Bootstrap"
	Wait      Answer = "Wait"
	Refuse    Answer = "Refuse"
	Hold      Answer = "Hold"
)

// Need is what ends a Wait or a Refuse, where it is a change of membership:
// the one fact about a decision that the operator and a recovery act on.
type Need string

// The needs.
const (
	// NeedAdd: nothing of worth lies here, and the node is not a member: add it
	// as a learner.
	NeedAdd Need = "add"
	// NeedReplace: a member that ran here has lost its data: remove it, then
	// add the node (P2).
	NeedReplace Need = "replace"
)

// Why data is set aside.
const (
	olderEpoch = "older-epoch"
	foreign    = "foreign"
	removed    = "removed"
	damaged    = "damaged"
)

// Decision is an answer with its reason.
type Decision struct {
	Answer Answer `json:"answer"`
	// Archive: set aside what lies in the data dir, then decide again. Never
	// together with Start or Bootstrap.
	Archive bool `json:"archive,omitempty"`
	// ArchiveReason is short and names the archive's entry; Reason says more.
	ArchiveReason string `json:"archiveReason,omitempty"`
	// Needs says to programs what the membership has to do for this node.
	Needs Need `json:"needs,omitempty"`
	// WaitsFor names what ends a Wait, a Refuse or a Hold.
	WaitsFor string `json:"waitsFor,omitempty"`
	// Reason: what was seen, what follows from it, what to do. For a person in
	// an outage.
	Reason string `json:"reason"`
	// InitialCluster, its state and its token replace the manifest's; an empty
	// one leaves the manifest's as it is.
	InitialCluster      string `json:"initialCluster,omitempty"`
	InitialClusterState string `json:"initialClusterState,omitempty"`
	InitialClusterToken string `json:"initialClusterToken,omitempty"`
}

// Runs reports whether etcd is started by this decision as it stands.
func (d Decision) Runs() bool {
	return !d.Archive && (d.Answer == Start || d.Answer == Join || d.Answer == Bootstrap)
}

// Decide is the design's table. "Cannot tell" is never a start (P12), a
// time-out is never a death (I23), and data is only ever set aside when a
// living quorum or a newer epoch says that it has no future here.
func Decide(in Input) Decision {
	if d, ok := forbidden(in); ok {
		return d
	}
	c := situation{Input: in, newest: in.Recorded}
	if d, ok := c.findNewest(); !ok {
		return d
	}
	switch in.Local.State {
	case LocalNone:
		return c.none()
	case LocalPresent:
		return c.present()
	case LocalDamaged:
		return c.damaged()
	}
	return refuse("a data dir that can be read", "the data dir cannot be looked at (%s), which says nothing about the data: nothing is started or set aside. Look at the disk: `dmesg`, `df`, `mount`", or(in.Local.Why, string(in.Local.State)))
}

// findNewest works out the newest epoch. What a lineage named for the data or
// for the peers is recorded, too: the same lineages named all three, so they
// cannot contradict each other unless two recoveries ran at once (I3).
func (c *situation) findNewest() (Decision, bool) {
	named := []Recorded{c.Recorded}
	if c.Local.State != LocalNone {
		named = append(named, Recorded{c.Local.EpochKnown, c.Local.Epoch, c.Local.ClusterID})
	}
	if c.Peers.Reachable {
		named = append(named, Recorded{c.Peers.EpochKnown, c.Peers.Epoch, c.Peers.ClusterID})
	}
	for i, a := range named {
		if a.Known && (!c.newest.Known || a.Epoch > c.newest.Epoch) {
			c.newest = a
		}
		for _, b := range named[:i] {
			if a.Known && b.Known && (a.Epoch == b.Epoch) != (a.ClusterID == b.ClusterID) {
				return wait("one cluster for each epoch", "epoch %d is cluster %s, and epoch %d is cluster %s: two recoveries were run apart from each other. Nothing is started until a person says which one lives; then wipe the other's nodes",
					a.Epoch, a.ClusterID, b.Epoch, b.ClusterID), false
			}
		}
	}
	return Decision{}, true
}

// forbidden is what wins over every fact about the data.
func forbidden(in Input) (Decision, bool) {
	switch {
	case in.Hold != nil:
		return Decision{
			Answer:   Hold,
			WaitsFor: "the release of hold " + in.Hold.ID,
			Reason:   fmt.Sprintf("etcd is held by %s: %s. It starts again when that is released", in.Hold.ID, or(in.Hold.Reason, "no reason given")),
		}, true
	case in.Flags != "":
		return refuse("a changed manifest", "%s. Nothing is started with these flags: change them in the manifest", in.Flags), true
	case in.Intent.RestorePending != "":
		return wait("recovery "+in.Intent.RestorePending, "recovery %s is changing the data dir: nothing is started until it has finished (I2). If it no longer runs: `ceo recover --resume` or `ceo recover --abort`",
			in.Intent.RestorePending), true
	case in.Local.InUse:
		return wait("the other process to end", "another process has the data dir open for writing: an etcd that was not stopped still runs (P10). Nothing is started beside it and nothing set aside under it; find it with `crictl ps` or `fuser -v` on member/snap/db"), true
	case in.Peers.Conflict != "":
		return wait("peers that agree on one cluster", "%s. Nothing is started and nothing set aside until that is settled: a person must say which cluster lives, then stop the other one's etcd", in.Peers.Conflict), true
	}
	return Decision{}, false
}

// situation is an Input with the newest epoch worked out.
type situation struct {
	Input
	newest Recorded
}

// live: peers of a cluster that is not known to be past answer. A peer that
// still runs an older epoch says nothing about the cluster that lives now.
func (c situation) live() bool {
	return c.Peers.Reachable && !c.peersArePast()
}

func (c situation) peersArePast() bool {
	return c.Peers.Reachable && c.newest.Known && c.Peers.EpochKnown && c.Peers.Epoch < c.newest.Epoch
}

// claimed: a living quorum lists this node as added and never started. A stale
// list is not enough: the member may have started and been wiped since (P2).
func (c situation) claimed() bool {
	_, added := c.Peers.added(c.Self)
	_, ran := c.Peers.started(c.Self)
	return c.live() && c.Peers.Linearizable && added && !ran
}

// peersAreCurrent: the peers' cluster is the newest that is recorded.
func (c situation) peersAreCurrent() bool {
	return c.live() && c.Peers.EpochKnown && c.Peers.Epoch == c.newest.Epoch
}

// none: the data dir is empty. It never becomes a cluster by itself, whatever
// the manifest's --initial-cluster says (P25).
func (c situation) none() Decision {
	if !c.live() {
		return c.noneAlone()
	}
	m, ran := c.Peers.started(c.Self)
	_, added := c.Peers.added(c.Self)
	switch {
	case ran && added:
		return needs(NeedReplace, refuse("the removal of member "+m.ID, "the data dir is empty, and %s lists this node twice: as member %s that has run before, and as added anew. Remove the old one: `etcdctl member remove %s`; this node joins by itself then",
			c.peers(), m.ID, m.ID))
	case ran:
		return needs(NeedReplace, refuse("member "+m.ID+" to be removed and added again", "the data dir is empty, but %s knows this node as member %s, which has run before: starting it without its data could lose acknowledged writes (P2, I5). The operator or a recovery removes and adds it again by itself; by hand: `etcdctl member remove %s`, then `etcdctl member add %s --learner --peer-urls=%s`",
			c.peers(), m.ID, m.ID, c.Self.Name, c.Self.PeerURL))
	case added && c.Peers.Linearizable:
		return c.join("the data dir is empty")
	case added:
		return wait("a member list confirmed by a quorum", "the data dir is empty, and %s lists this node as added, but without a quorum that may be an old tale (P2). This node joins when the cluster has a quorum; if it has none: `ceo recover --plan`", c.peers())
	}
	return toBeAdded("the data dir is empty, and %s does not list %s. The operator or a recovery adds it by itself; by hand: `etcdctl member add %s --learner --peer-urls=%s`",
		c.peers(), c.Self.PeerURL, c.Self.Name, c.Self.PeerURL)
}

func (c situation) noneAlone() Decision {
	seen := "no peer answers"
	if c.peersArePast() {
		seen = c.peers() + " answers, but that cluster is past"
	}
	switch {
	case c.Intent.BootstrapOnce && !c.newest.Known && !c.Peers.Reachable:
		return Decision{
			Answer:              Bootstrap,
			Reason:              "the data dir is empty, no peer answers, no cluster is recorded, and one bootstrap is permitted: a new cluster of this member alone is started, and the permission is used up",
			InitialCluster:      pair(c.Self.Name, c.Self.PeerURL),
			InitialClusterState: "new",
			InitialClusterToken: c.Token,
		}
	case c.Intent.BootstrapOnce:
		return wait("the recorded cluster", "the data dir is empty, and a bootstrap is permitted, but %s is recorded and %s: a second cluster would stand beside it. If that cluster is lost: `ceo recover --plan`", c.recorded(), seen)
	}
	return wait("a peer that answers", "the data dir is empty and %s: an empty data dir never becomes a new cluster by itself (P25). This node joins when a peer is up and lists it; if every other node is lost: `ceo recover --plan`", seen)
}

// damaged never starts. It is set aside only when a living quorum holds the
// data without it, or when it is of the past anyway: a rename loses nothing,
// but what may be the last copy stays where a person looks for it (I1).
func (c situation) damaged() Decision {
	why := or(c.Local.Why, "it cannot be read")
	if c.isOlder() {
		return c.archive(olderEpoch, toBeAdded("the data dir is damaged (%s) and of epoch %d, while %s is recorded: it is set aside. The operator or a recovery adds this node again", why, c.Local.Epoch, c.recorded()))
	}
	_, ran := c.Peers.started(c.Self)
	_, added := c.Peers.added(c.Self)
	ours := c.peersAreCurrent() || c.Peers.ClusterID == c.Local.ClusterID || ((ran || added) && c.Local.ClusterID == "")
	switch {
	case c.live() && ours && c.Peers.Linearizable:
		return c.archive(damaged, needs(NeedReplace, wait("this member to be replaced", "the data dir is damaged (%s), and %s has a quorum without it: it is set aside, and this node waits to be removed and added again. The operator or a recovery does so by itself", why, c.peers())))
	case c.live():
		return refuse("a quorum, or a recovery", "the data dir is damaged (%s), and %s answers without saying that a quorum holds the data without it: nothing is started, and the data stays where it is, as it may be needed. Next: `ceo recover --plan`", why, c.peers())
	}
	return refuse("a quorum, or a recovery", "the data dir is damaged (%s), and no peer of the cluster answers: nothing is started, and the data stays where it is, as it may be the last copy. If the peers are only down, bring them up; if not: `ceo recover --plan`", why)
}

// isOlder: the data is of an epoch before the newest one (I4).
func (c situation) isOlder() bool {
	return c.newest.Known && c.Local.EpochKnown && c.Local.Epoch < c.newest.Epoch
}
