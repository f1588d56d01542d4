package etcd

import "time"

// MaxStep is the most that one look adds to an Elapsed. Whoever looks stood
// still itself if more than that went by, and knows nothing of the time between.
const MaxStep = 30 * time.Second

// Elapsed counts for how long something has held without a break, by looking
// again and again. It lies in the memory of whoever looks: one that is started
// anew begins at zero, which is later than necessary and never too early (I23).
type Elapsed struct {
	Holds bool
	For   time.Duration
}

// Look is the count after one look more; since is what a monotonic clock says
// has gone by since the look before. A clock that jumps back adds nothing, one
// that jumps ahead adds MaxStep.
func (e Elapsed) Look(holds bool, since time.Duration) Elapsed {
	switch {
	case !holds:
		return Elapsed{}
	case !e.Holds:
		return Elapsed{Holds: true}
	}
	e.For += min(max(since, 0), MaxStep)
	return e
}

// CaughtUp says whether a learner that has applied so much has applied what
// the leader had one look ago (I8). Now is no goal while writes go on; and what
// the leader had long ago, before whoever looks stood still, is none either.
func CaughtUp(applied, goal int64, since time.Duration) bool {
	return goal > 0 && applied >= goal && since >= 0 && since <= MaxStep
}
