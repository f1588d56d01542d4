// Package revision keeps a node's revisions of etcd's static pod: the manifests that it had, which of them is placed, and
// which one it was last healthy with. Its own etcd may be dead when they are needed, so they lie in files.
package revision

import (
	"slices"
	"time"
)

// Keep is how many revisions stay on a node, if no more are needed to go back to.
const Keep = 5

// Index is revisions/index.json: what is known of a node's revisions besides their manifests.
type Index struct {
	// Placed is the revision that was placed last. The manifest in the kubelet's folder has the last word: a person or
	// kubeadm may have changed it since, or the node may have died before it was there.
	Placed   string    `json:"placed,omitempty"`
	PlacedAt time.Time `json:"placedAt,omitzero"`
	// Boot and Uptime are the node's boot and its monotonic clock then: a wall clock that jumps makes no node late.
	Boot   string        `json:"boot,omitempty"`
	Uptime time.Duration `json:"uptime,omitempty"`
	// Ill: the member was not healthy when Placed was placed.
	Ill bool `json:"ill,omitempty"`
	// RolledBack: Placed was placed to go back to it.
	RolledBack bool `json:"rolledBack,omitempty"`
	// LastGood is the revision that the node was last healthy with.
	LastGood string `json:"lastGood,omitempty"`
	// RolledBackFrom is the one that it was last put back from. It stays until the node was healthy with a later one.
	RolledBackFrom string `json:"rolledBackFrom,omitempty"`
	// Kept are the revisions whose manifests are here, newest first.
	Kept []string `json:"kept,omitempty"`
}

// Clock is what a node's clocks say. Only Uptime and Boot are reckoned with.
type Clock struct {
	Now    time.Time
	Boot   string
	Uptime time.Duration
}

// PlacedFor is for how long Placed has been there by the node's monotonic clock. After a reboot it counts from that: later
// than necessary, and never too early (I23).
func (x Index) PlacedFor(c Clock) time.Duration {
	if x.Boot != c.Boot {
		return c.Uptime
	}
	return max(c.Uptime-x.Uptime, 0)
}

func (x Index) placed(revision string, c Clock) Index {
	x.Placed, x.PlacedAt, x.Boot, x.Uptime = revision, c.Now.UTC().Truncate(time.Second), c.Boot, c.Uptime
	x.Ill, x.RolledBack = false, false
	return x
}

// Place is the index once a revision is placed in the place of from.
func (x Index) Place(revision, from string, ill, rollBack bool, c Clock) Index {
	x = x.kept(revision).placed(revision, c)
	x.Ill, x.RolledBack = ill, rollBack
	if rollBack {
		x.RolledBackFrom = from
	}
	return x
}

// Found is the index once a revision was seen in the kubelet's folder that nobody placed through here.
func (x Index) Found(revision string, c Clock) Index {
	if x.Placed == revision {
		return x
	}
	return x.placed(revision, c)
}

// Good is the index once the node was healthy with the revision. Going back to a good one says nothing of the one that it
// was put back from: only a later one does.
func (x Index) Good(revision string) Index {
	if revision == "" || x.Placed != revision {
		return x
	}
	x = x.kept(revision)
	x.LastGood = revision
	if !x.RolledBack {
		x.RolledBackFrom = ""
	}
	return x
}

// kept moves a revision to the front.
func (x Index) kept(revision string) Index {
	out := []string{revision}
	for _, r := range x.Kept {
		if r != revision {
			out = append(out, r)
		}
	}
	x.Kept = out
	return x
}

// Prune keeps the newest n, and in any case what may be needed: what is placed, what can be gone back to, and what was
// gone back from, for a person to look at.
func (x Index) Prune(n int, also ...string) (Index, []string) {
	needed := append([]string{x.Placed, x.LastGood, x.RolledBackFrom}, also...)
	var keep, drop []string
	room := n
	for _, r := range x.Kept {
		if slices.Contains(needed, r) {
			room--
		}
	}
	for _, r := range x.Kept {
		switch {
		case slices.Contains(needed, r):
			keep = append(keep, r)
		case room > 0:
			keep = append(keep, r)
			room--
		default:
			drop = append(drop, r)
		}
	}
	x.Kept = keep
	return x, drop
}
