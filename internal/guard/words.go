package guard

import (
	"fmt"
	"slices"
	"strings"
)

// start runs the data as it is. etcd takes the membership from its WAL; the
// initial cluster is set so that nothing in the manifest contradicts it.
func (c situation) start(why string) Decision {
	members := c.Local.Members
	if c.Peers.ClusterID == c.Local.ClusterID && len(c.Peers.Members) > 0 {
		members = c.Peers.Members
	}
	if !c.newest.Known {
		why += "; node.json is missing or cannot be read, run `ceo node install` on this node again"
	}
	return Decision{
		Answer:              Start,
		Reason:              why + ": etcd starts with its data as it is",
		InitialCluster:      initialCluster(members, c.Self, c.Local.MemberID),
		InitialClusterState: "existing",
	}
}

// join starts an empty data dir as the member that was added.
func (c situation) join(what string) Decision {
	m, _ := c.Peers.added(c.Self)
	return Decision{
		Answer:              Join,
		Reason:              fmt.Sprintf("%s, and %s lists this node as added and not yet started (member %s): it joins and takes the data from its peers", what, c.peers(), m.ID),
		InitialCluster:      initialCluster(c.Peers.Members, c.Self, m.ID),
		InitialClusterState: "existing",
	}
}

// archive adds the setting aside of the data to a decision.
func (c situation) archive(why string, d Decision) Decision {
	d.Archive, d.ArchiveReason = true, why
	return d
}

// initialCluster lists every member, this node's own entry under its own name
// and address. etcd compares the list with its peers' by URL, so an unstarted
// member of another node must be in it, under any name.
func initialCluster(members []Member, self Self, own string) string {
	pairs := []string{pair(self.Name, self.PeerURL)}
	for _, m := range members {
		if m.ID == own || self.owns(m.Name, m.PeerURLs) {
			continue
		}
		for _, u := range m.PeerURLs {
			pairs = append(pairs, pair(or(m.Name, "unstarted-"+m.ID), u))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

func pair(name, url string) string { return name + "=" + url }

// peers names the peers' cluster for a reason.
func (c situation) peers() string {
	s := "cluster " + c.Peers.ClusterID
	if c.Peers.EpochKnown {
		s += fmt.Sprintf(" (epoch %d)", c.Peers.Epoch)
	}
	return s
}

func (c situation) recorded() string {
	if !c.newest.Known {
		return "no cluster"
	}
	return fmt.Sprintf("epoch %d (cluster %s)", c.newest.Epoch, c.newest.ClusterID)
}

func wait(waitsFor, reason string, args ...any) Decision {
	return Decision{Answer: Wait, WaitsFor: waitsFor, Reason: fmt.Sprintf(reason, args...)}
}

func refuse(waitsFor, reason string, args ...any) Decision {
	return Decision{Answer: Refuse, WaitsFor: waitsFor, Reason: fmt.Sprintf(reason, args...)}
}

// toBeAdded waits for the membership to make room for this node.
func toBeAdded(reason string, args ...any) Decision {
	return needs(NeedAdd, wait("this node to be added to the cluster", reason, args...))
}

func needs(n Need, d Decision) Decision {
	d.Needs = n
	return d
}

func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}
