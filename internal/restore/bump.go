package restore

import (
	"fmt"
	"math"
)

// Margin is how far beyond the highest revision known to have been served a restored store begins (I15).
//
// What is known is a lower bound: it was recorded a moment before the end, on one node, and another member may have
// served more since. 1e9 revisions are more than a day at 10,000 writes a second, far above what etcd does, and cost
// nothing: of the 9.2e18 revisions that an int64 holds, each recovery uses one part in nine billion. etcd's own
// documentation advises the same number.
const Margin = 1_000_000_000

// BumpBy is by how much the revision of a restored snapshot is raised, so that no client has ever seen a revision as
// high as the store then begins at: informers that hold an old one are told to list again, instead of waiting for a
// revision that comes back with other content (P3). servedRevision is the highest that is known to have been served,
// 0 if nothing is known.
func BumpBy(snapshotRevision, servedRevision int64) (uint64, error) {
	if snapshotRevision < 0 || servedRevision < 0 {
		return 0, fmt.Errorf("a revision is never negative (snapshot %d, served %d)", snapshotRevision, servedRevision)
	}
	highest := max(snapshotRevision, servedRevision)
	if highest > math.MaxInt64-Margin {
		return 0, fmt.Errorf("revision %d leaves no room to go beyond it; the recorded served revision is wrong", highest)
	}
	return uint64(highest-snapshotRevision) + Margin, nil //nolint:gosec // highest is the greater of the two
}
