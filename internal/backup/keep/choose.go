package keep

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Member is one member of the cluster, as it answered.
type Member struct {
	Name     string
	Endpoint string
	// Local: it runs on this node, so that nothing crosses the network.
	Local bool
	// Err is why it did not answer; nothing below is known then.
	Err       error
	ID        uint64
	ClusterID uint64
	Leader    uint64 // 0: it knows none
	Learner   bool
	Applied   uint64
	Revision  int64
	DBSize    int64
	Version   string
	Alarms    []string
	Took      time.Duration // to its answer
}

// maxLag is how far behind the furthest member one may be that a backup is made of. Kubernetes writes some hundred
// entries a second; this is a few seconds.
const maxLag = 5000

// Choose picks the member that a snapshot is taken from, and says why: a healthy follower, so that the leader does not
// pay for it, on this node before others; the leader only if there is nobody else. Without a quorum any member that
// still answers does: its store is whole, and it may be all that is left.
func Choose(ms []Member) (Member, string, error) {
	var furthest uint64
	for _, m := range ms {
		if m.Err == nil && !m.Learner {
			furthest = max(furthest, m.Applied)
		}
	}
	type candidate struct {
		m    Member
		rank int
		why  string
	}
	var cs []candidate
	var problems []string
	for _, m := range ms {
		name := m.Name
		if name == "" {
			name = m.Endpoint
		}
		switch {
		case m.Err != nil:
			problems = append(problems, fmt.Sprintf("%s: %v", name, m.Err))
		case m.Learner:
			problems = append(problems, name+" is a learner and may lack entries")
		case slices.ContainsFunc(m.Alarms, func(a string) bool { return strings.Contains(a, "CORRUPT") }):
			problems = append(problems, name+" has raised the alarm CORRUPT")
		case m.Leader == 0:
			cs = append(cs, candidate{m, 4, "it answers, and there is no leader"})
		case furthest-m.Applied > maxLag:
			cs = append(cs, candidate{m, 3, fmt.Sprintf("it is %d entries behind, and no other member is better", furthest-m.Applied)})
		case m.Leader == m.ID:
			cs = append(cs, candidate{m, 2, "the leader, as no follower is healthy"})
		case m.Local:
			cs = append(cs, candidate{m, 0, "a healthy follower on this node"})
		default:
			cs = append(cs, candidate{m, 1, "a healthy follower"})
		}
	}
	if len(cs) == 0 {
		if len(problems) == 0 {
			problems = []string{"no member is known"}
		}
		return Member{}, "", fmt.Errorf("no member can be backed up: %s", strings.Join(problems, "; "))
	}
	best := slices.MinFunc(cs, func(a, b candidate) int {
		// Among equals the freshest, then by name, so that the choice can be repeated.
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.m.Applied, a.m.Applied), cmp.Compare(a.m.Name, b.m.Name))
	})
	if best.rank == 2 && len(ms) == 1 {
		best.why = "the only member"
	}
	return best.m, best.why, nil
}
