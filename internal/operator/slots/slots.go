// Package slots says when the backups of a schedule are due. It is pure, and knows UTC only: there is no summer time.
package slots

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"clusteretcd.io/ceo/api/v1alpha1"
)

// Slots are the times at which a schedule is due.
type Slots struct{ cron *cron.SpecSchedule }

// Parse reads spec.schedule.
func Parse(spec string) (Slots, error) {
	// The parser knows more than the API takes: another time zone, @every, seconds.
	if strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=") {
		return Slots{}, fmt.Errorf("schedule %q: the time is UTC, and no other zone can be named", spec)
	}
	if strings.HasPrefix(spec, "@") && !slices.Contains([]string{"@hourly", "@daily", "@weekly", "@monthly"}, spec) {
		return Slots{}, fmt.Errorf("schedule %q: write five fields, or @hourly, @daily, @weekly or @monthly", spec)
	}
	s, err := cron.ParseStandard(spec)
	if err != nil {
		return Slots{}, fmt.Errorf("schedule %q cannot be read: %w", spec, err)
	}
	c, ok := s.(*cron.SpecSchedule)
	if !ok {
		return Slots{}, fmt.Errorf("schedule %q is not of five fields", spec)
	}
	c.Location = time.UTC
	return Slots{c}, nil
}

// Next is the first slot after t; zero if there is none in the five years that follow.
func (s Slots) Next(t time.Time) time.Time { return s.cron.Next(t.UTC()) }

// horizon is how far back a slot is looked for: further than the library looks ahead.
const horizon = 6 * 366 * 24 * time.Hour

// Last is the last slot after from and not after t; zero if there is none.
func (s Slots) Last(from, t time.Time) time.Time {
	// The window grows, so that a clock that jumped by years costs no walk through all the slots in between.
	for w := time.Minute; ; w *= 2 {
		begin := t.Add(-w)
		last := begin.Before(from) || w > horizon
		if begin.Before(from) {
			begin = from
		}
		var found time.Time
		for n := s.Next(begin); !n.IsZero() && !n.After(t); n = s.Next(n) {
			found = n
		}
		if last || !found.IsZero() {
			return found
		}
	}
}

const day = 24 * time.Hour

// Gap is the longest time between two slots.
func (s Slots) Gap() time.Duration {
	from := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) // any: four years with a leap day follow
	var wait time.Duration
	for i := range 4*365 + 1 {
		t := from.AddDate(0, 0, i)
		n := s.Next(t)
		if n.IsZero() {
			return horizon
		}
		if n.Sub(t) > day {
			wait = max(wait, n.Sub(s.Last(time.Time{}, t)))
		}
	}
	if wait > day {
		return wait
	}
	// There is a slot each day, so the longest time shows within a week.
	var gap time.Duration
	for t := s.Next(from); t.Sub(from) < 9*day; {
		n := s.Next(t)
		gap = max(gap, n.Sub(t))
		t = n
	}
	return gap
}

const (
	// Week is how far apart proofs are with the policy Weekly.
	Week = 7 * day
	// slack: a backup is begun a little after its slot, and the one of a week later must count as a week later.
	slack = time.Hour
	// DefaultProofAge is how old the newest proof may be where no schedule proves anything: a week, and a day for it.
	DefaultProofAge = Week + day
)

// ProofDue reports whether the backup of a slot is to be proven. begun is when the backup was begun that was proven last
// (zero: none was), since how many were made since then.
func ProofDue(p v1alpha1.ProveSpec, due, begun time.Time, since int32) bool {
	switch p.Policy {
	case v1alpha1.ProveNever:
		return false
	case v1alpha1.ProveEveryNth:
		return begun.IsZero() || since+1 >= p.Every
	}
	// One whose time is still to come says nothing: a clock was wrong.
	return begun.IsZero() || due.Sub(begun) >= Week-slack || begun.Sub(due) > slack
}

// ProofAge is how old the newest proof of a schedule may be: the longest time between two proofs, and two backups or a day
// more, as a proof that fails is tried again with the next backup. False where the schedule proves nothing.
func ProofAge(s v1alpha1.EtcdBackupScheduleSpec) (time.Duration, bool) {
	if s.Prove.Policy == v1alpha1.ProveNever || s.Suspend != nil && *s.Suspend {
		return 0, false
	}
	at, err := Parse(s.Schedule)
	if err != nil {
		return 0, false
	}
	gap := at.Gap()
	every := time.Duration(max(s.Prove.Every, 1))
	if s.Prove.Policy != v1alpha1.ProveEveryNth {
		every = (Week - slack + gap - 1) / gap
	}
	return every*gap + max(day, 2*gap), true
}
