package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/store"
)

// Policy says what is kept: an entry that any rule keeps stays. The zero policy keeps everything.
type Policy struct {
	Last    int `json:"last,omitempty"` // the newest so many
	Hourly  int `json:"hourly,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
	// MaxAge and MaxSize take away what the rules above keep, oldest first.
	MaxAge  Duration `json:"maxAge,omitempty"`
	MaxSize int64    `json:"maxSize,omitempty"` // bytes of all that is kept
}

// Duration is written as 720h.
type Duration time.Duration

// UnmarshalJSON reads a Go duration.
func (d *Duration) UnmarshalJSON(b []byte) error {
	v, err := time.ParseDuration(strings.Trim(string(b), `"`))
	if err != nil {
		return errors.New("maxAge is not of the form 720h")
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes one.
func (d Duration) MarshalJSON() ([]byte, error) {
	return []byte(`"` + time.Duration(d).String() + `"`), nil
}

func (p Policy) check() error {
	for _, n := range []int64{int64(p.Last), int64(p.Hourly), int64(p.Daily), int64(p.Weekly), int64(p.Monthly), int64(p.MaxAge), p.MaxSize} {
		if n < 0 {
			return errors.New("retention: a number in it is negative")
		}
	}
	return nil
}

func (p Policy) rules() bool { return p.Last+p.Hourly+p.Daily+p.Weekly+p.Monthly > 0 }

// Verdict on one folder.
type Verdict struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Decision is what stays and what goes.
type Decision struct {
	Keep   []Verdict `json:"keep"`
	Remove []Verdict `json:"remove"`
}

// abandonedAfter is how long a folder without a manifest, or a backup that is not in order, is left alone: it may be
// being written, or a store may be having a bad day.
const abandonedAfter = 24 * time.Hour

// Retain decides which backups stay. The newest good one and the newest proven one always do (I18), whatever the clock
// says: what is newest follows from the names. An entry with a problem counts for nothing, and goes only when it is old
// and a newer good one is there.
func Retain(c Catalogue, p Policy, now time.Time) Decision {
	es := slices.Clone(c.Entries)
	slices.SortFunc(es, func(a, b Entry) int { return strings.Compare(b.ID, a.ID) })
	var good []Entry
	for _, e := range es {
		if e.Good() {
			good = append(good, e)
		}
	}
	keep := p.keep(good)
	p.limit(good, keep, now)
	var d Decision
	for _, e := range es {
		reason, ok := keep[e.ID]
		switch {
		case ok:
			d.Keep = append(d.Keep, Verdict{e.ID, reason})
		case e.Good():
			d.Remove = append(d.Remove, Verdict{e.ID, "no rule of the retention keeps it"})
		case len(good) == 0 || good[0].ID < e.ID:
			d.Keep = append(d.Keep, Verdict{e.ID, "it cannot be used as it is, and there is no newer good one: " + e.Problem})
		case now.Sub(e.At) < abandonedAfter:
			d.Keep = append(d.Keep, Verdict{e.ID, "it cannot be used as it is, and is too young to be given up: " + e.Problem})
		default:
			d.Remove = append(d.Remove, Verdict{e.ID, "it cannot be used, and newer good ones are there: " + e.Problem})
		}
	}
	for _, u := range c.Unfinished {
		if now.Sub(u.At) < abandonedAfter {
			d.Keep = append(d.Keep, Verdict{u.ID, "it may be being written"})
		} else {
			d.Remove = append(d.Remove, Verdict{u.ID, "it was never finished"})
		}
	}
	return d
}

// keep applies the rules: id to reason.
func (p Policy) keep(good []Entry) map[string]string {
	keep := map[string]string{}
	mark := func(e Entry, reason string) {
		if old, ok := keep[e.ID]; ok {
			reason = old + ", " + reason
		}
		keep[e.ID] = reason
	}
	for i, e := range good {
		if i == 0 {
			mark(e, "the newest")
		}
		if !p.rules() {
			mark(e, "no rule says how many to keep")
		}
		if i < p.Last {
			mark(e, fmt.Sprintf("among the last %d", p.Last))
		}
	}
	if i := slices.IndexFunc(good, func(e Entry) bool { return e.Proof != nil }); i >= 0 {
		mark(good[i], "the newest proven")
	}
	for _, rule := range []struct {
		n      int
		name   string
		period func(time.Time) string
	}{
		{p.Hourly, "hour", func(t time.Time) string { return t.Format("2006010215") }},
		{p.Daily, "day", func(t time.Time) string { return t.Format("20060102") }},
		{p.Weekly, "week", func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{p.Monthly, "month", func(t time.Time) string { return t.Format("200601") }},
	} {
		left, last := rule.n, ""
		for _, e := range good {
			if period := rule.period(e.At.UTC()); left > 0 && period != last {
				mark(e, "the newest of its "+rule.name)
				left, last = left-1, period
			}
		}
	}
	return keep
}

// limit takes from what the rules keep what is too old or too much, oldest first; never the two that always stay.
func (p Policy) limit(good []Entry, keep map[string]string, now time.Time) {
	spared := map[string]bool{}
	if len(good) > 0 {
		spared[good[0].ID] = true
	}
	if i := slices.IndexFunc(good, func(e Entry) bool { return e.Proof != nil }); i >= 0 {
		spared[good[i].ID] = true
	}
	var size int64
	for _, e := range good {
		if _, ok := keep[e.ID]; !ok {
			continue
		}
		size += e.Size
		old := p.MaxAge > 0 && now.Sub(e.At) > time.Duration(p.MaxAge)
		if !spared[e.ID] && (old || p.MaxSize > 0 && size > p.MaxSize) {
			delete(keep, e.ID)
			size -= e.Size
		}
	}
}

// Prune removes what was decided. The manifest goes first: a crash in between leaves a folder that is no backup, never a
// backup without its data.
func Prune(ctx context.Context, s store.Store, d Decision) error {
	for _, v := range d.Remove {
		if !idForm.MatchString(v.ID) {
			return fmt.Errorf("%q is no backup's name", v.ID)
		}
		if err := s.Delete(ctx, v.ID+"/"+manifestName); err != nil {
			return fmt.Errorf("remove backup %s: %w", v.ID, err)
		}
		for o, err := range s.List(ctx, v.ID+"/") {
			if err == nil {
				err = s.Delete(ctx, o.Key)
			}
			if err != nil {
				return fmt.Errorf("remove backup %s: %w", v.ID, err)
			}
		}
	}
	return nil
}
