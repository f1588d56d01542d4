package guard

import "fmt"

// present: whole data lies in the data dir. Whose is it, and of when?
func (c situation) present() Decision {
	switch {
	case c.Local.ClusterID == "" || c.Local.MemberID == "":
		return refuse("a data dir that can be inspected", "the data dir holds data that does not say whose it is: nothing is started, and the data is not touched. Next: `ceo recover --plan`")
	case c.isOlder():
		return c.older()
	case c.live() && c.Local.ClusterID == c.Peers.ClusterID:
		return c.sameCluster()
	case c.live():
		return c.otherCluster()
	}
	return c.alone()
}

// older: a recovery happened elsewhere. This data never serves again (I4, P11).
func (c situation) older() Decision {
	what := fmt.Sprintf("the data is of epoch %d (cluster %s)", c.Local.Epoch, c.Local.ClusterID)
	if c.claimed() {
		return c.archive(olderEpoch, c.join(what+", which a recovery has superseded: it is set aside"))
	}
	return c.archive(olderEpoch, toBeAdded("%s, but %s is recorded: a recovery has superseded it, so it is set aside and never serves again. The recovery that made the new epoch adds this node by itself", what, c.recorded()))
}

// sameCluster: the peers that answer are of the cluster of the data.
func (c situation) sameCluster() Decision {
	if c.isForeign() {
		return refuse("the cluster to be recorded", "the data and the peers are of cluster %s, but this node records %s and knows no epoch of the former (I5). If that cluster was restored by hand and is the one that lives, record it: `ceo node install` on this node", c.Local.ClusterID, c.recorded())
	}
	m, listed := c.Peers.member(c.Local.MemberID)
	switch {
	case !c.newest.Known && !c.Peers.Linearizable:
		return refuse("node.json, or a quorum among the peers", "this node records no cluster (its node.json is missing or cannot be read), and the peers of cluster %s have no quorum that could vouch for the data. Run `ceo node install` on this node again, or bring the other members up", c.Local.ClusterID)
	case listed && !c.Self.owns(or(m.Name, c.Self.Name), m.PeerURLs):
		return c.othersData(m.Name)
	case listed && c.strangerWrote():
		return c.othersData(c.Local.Name)
	case listed:
		return c.start(fmt.Sprintf("member %s is listed by %s", c.Local.MemberID, c.peers()))
	case !c.Peers.Linearizable:
		return wait("a member list confirmed by a quorum", "%s does not list member %s, whose data lies here, but without a quorum that may be an old tale: nothing is started and nothing set aside. Bring the other members up; if they are lost: `ceo recover --plan`", c.peers(), c.Local.MemberID)
	case c.claimed():
		return c.archive(removed, c.join(fmt.Sprintf("member %s, whose data lies here, was removed and this node was added again: the old data is set aside", c.Local.MemberID)))
	}
	return c.archive(removed, toBeAdded("%s no longer lists member %s, whose data lies here: it was removed, so the data is set aside (P2). The operator or a recovery adds this node again by itself", c.peers(), c.Local.MemberID))
}

// otherCluster: the peers that answer are of another cluster, and the data is
// not known to be older than theirs.
func (c situation) otherCluster() Decision {
	what := fmt.Sprintf("the data is of cluster %s, the peers are of cluster %s", c.Local.ClusterID, c.Peers.ClusterID)
	switch {
	case c.claimed():
		return c.archive(foreign, c.join(what+", which have added this node: the data is set aside (I5)"))
	case c.isForeign() && c.peersAreCurrent() && c.Peers.Linearizable:
		return c.archive(foreign, toBeAdded("%s, and theirs is the newest that is recorded (epoch %d) and has a quorum: the data is foreign and is set aside (I5). The operator or a recovery adds this node by itself", what, c.Peers.Epoch))
	case c.peersAreCurrent():
		return wait("a quorum among the peers", "%s, which is the newest that is recorded (epoch %d) but has no quorum: foreign data never starts (I5), and nothing is set aside while nobody can confirm it. If the quorum is lost: `ceo recover --plan`", what, c.Peers.Epoch)
	case c.newest.Known && c.Local.EpochKnown:
		return wait("peers of a recorded cluster", "%s. The former is recorded as epoch %d, the latter nowhere: whether a recovery made it cannot be told (P12), so nothing is started or set aside. If theirs lives, run `ceo node install` on this node; if not, stop it", what, c.Local.Epoch)
	case c.newest.Known:
		return wait("peers of a recorded cluster", "%s, and neither is %s, which this node records: nothing is started or set aside. If theirs lives, run `ceo node install` on this node", what, c.recorded())
	}
	return refuse("node.json", "%s, and this node records no cluster (its node.json is missing or cannot be read): which of them lives cannot be told. Run `ceo node install` on this node again", what)
}

// alone: nobody answers who could know better.
func (c situation) alone() Decision {
	seen := "no peer answers"
	if c.peersArePast() {
		seen = "only peers of the past answer (" + c.peers() + ")"
	}
	switch {
	case !c.newest.Known:
		// `ceo node install` always records a cluster, so this is a lost
		// node.json. With peers up the node would have started on their word.
		return refuse("node.json, or a peer that answers", "data of cluster %s lies here, but this node records no cluster (its node.json is missing or cannot be read) and %s: whether a recovery has superseded the data cannot be told (P12). Run `ceo node install` on this node again; the data is not touched", c.Local.ClusterID, seen)
	case c.isForeign():
		return wait("a peer that answers", "the data is of cluster %s, which no epoch of this node names (it records %s), and %s: foreign data never starts (I5), and nothing is set aside on suspicion. Bring a peer up; if this data was restored by hand and is to live, run `ceo node install` on this node", c.Local.ClusterID, c.recorded(), seen)
	case c.strangerWrote():
		return c.othersData(c.Local.Name)
	}
	return c.start(fmt.Sprintf("the data is of the newest recorded epoch (%d), and %s", c.newest.Epoch, seen))
}

// isForeign: something is recorded, and it does not name the data's cluster.
func (c situation) isForeign() bool { return c.newest.Known && !c.Local.EpochKnown }

// strangerWrote: the data itself says that another member wrote it.
func (c situation) strangerWrote() bool {
	return c.Local.Name != "" && !c.Self.owns(c.Local.Name, c.Local.PeerURLs)
}

func (c situation) othersData(name string) Decision {
	return refuse("the right disk", "the data here was written by member %q (%s), and this node is %q: were disks swapped, or a machine cloned? Nothing is started on another member's data (I5), and it is not touched. Put the right disk in; or move %s's data away by hand, then this node waits to be added",
		name, c.Local.MemberID, c.Self.Name, name)
}
