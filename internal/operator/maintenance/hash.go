package maintenance

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Hash is what one member answers of its store at the revision that all were asked for.
type Hash struct {
	Member          string
	Revision        int64
	CompactRevision int64
	Hash            uint32
	// Err: it could not be asked, or could not answer.
	Err string
}

// Outcome of a comparison.
type Outcome string

// The outcomes. Unknown says nothing of the data: it is compared again (I23).
const (
	Same    Outcome = "same"
	Differs Outcome = "differs"
	Unknown Outcome = "unknown"
)

// Compared is an outcome with its reason.
type Compared struct {
	Outcome Outcome
	// Odd are the members that differ from a majority; all, where no majority is the same.
	Odd    []string
	Reason string
}

// Compare says whether the members hold the same. Hashes count only if they are of the same revisions, from the same
// compaction on: etcd hashes what lies between the two.
func Compare(hashes []Hash) Compared {
	if len(hashes) < 2 {
		return Compared{Unknown, nil, "there is one member, and nothing to compare it with"}
	}
	groups := map[uint32][]string{}
	for _, h := range hashes {
		switch {
		case h.Err != "":
			return Compared{Unknown, nil, h.Member + ": " + h.Err}
		case h.Revision != hashes[0].Revision || h.CompactRevision != hashes[0].CompactRevision:
			return Compared{Unknown, nil, fmt.Sprintf("%s and %s have compacted to different revisions just now", hashes[0].Member, h.Member)}
		}
		groups[h.Hash] = append(groups[h.Hash], h.Member)
	}
	if len(groups) == 1 {
		return Compared{Same, nil, fmt.Sprintf("all %d members hold the same at revision %d", len(hashes), hashes[0].Revision)}
	}
	var odd []string
	majority := false
	for _, g := range groups {
		if len(g) > len(hashes)/2 {
			majority = true
			continue
		}
		odd = append(odd, g...)
	}
	slices.Sort(odd)
	if !majority {
		return Compared{Differs, odd, "the data of " + strings.Join(odd, ", ") + " differs, and no majority is the same: see docs/runbooks/corrupt.md"}
	}
	return Compared{Differs, odd, "the data of " + strings.Join(odd, ", ") + " differs from the others': see docs/runbooks/corrupt.md"}
}

// Times of the comparison.
const (
	// DefaultHashInterval is for an EtcdCluster that names none.
	DefaultHashInterval = 24 * time.Hour
	// HashAfter is how long after its start an operator compares first.
	HashAfter = 10 * time.Minute
	// hashAgain is how soon it is tried again when nothing came of it, or when it differed.
	hashAgain = 10 * time.Minute
)

// Schedule of the comparison.
type Schedule struct {
	Started time.Time
	After   time.Duration
	// Tried last, in this process; zero for never. Good: all were the same then, as the status says.
	Tried, Good time.Time
	// Doubt: the last comparison differed, or the status of before says so; it is not left in doubt.
	Doubt    bool
	Interval time.Duration
}

// Due says whether the members are to be compared now.
func (s Schedule) Due(now time.Time) bool {
	if s.Interval <= 0 {
		s.Interval = DefaultHashInterval
	}
	again := s.Tried.IsZero() || now.Sub(s.Tried) >= min(hashAgain, s.Interval)
	switch {
	case s.Doubt:
		return again
	case now.Sub(s.Started) < s.After:
		return false
	case !s.Good.IsZero() && !s.Good.After(now) && now.Sub(s.Good) < s.Interval:
		return false
	}
	return again
}
