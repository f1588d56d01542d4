package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/store"
)

// Policy says what is kept: an entry that any rule keeps stays. The zero policy keeps every backup.
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
	// Unfinished: it had no manifest. One that got its manifest since is not removed.
	Unfinished bool `json:"unfinished,omitempty"`
}

// Decision is what stays and what goes.
type Decision struct {
	Keep   []Verdict `json:"keep"`
	Remove []Verdict `json:"remove"`
}

// clockSlack is how far two clocks may differ before one counts as wrong.
const clockSlack = time.Hour

// abandonedAfter is how long a folder without a manifest, or a backup that is not in order, is left alone: it may be
// being written, or a store may be having a bad day.
const abandonedAfter = 24 * time.Hour

// Retain decides which backups stay. The newest good one and the newest proven one always do (I18). Clocks do not change
// that: what is newest follows from the names, and entries whose time is still to come stay and count for nothing, so
// that a node whose clock was ahead once does not make every later backup look old. An entry with a problem counts for
// nothing either, and goes only when the problem is certain, it is old, and a newer good one is there.
func Retain(c Catalogue, p Policy, now time.Time) Decision {
	es := slices.Clone(c.Entries)
	slices.SortFunc(es, func(a, b Entry) int { return strings.Compare(b.ID, a.ID) })
	var good, past []Entry
	for _, e := range es {
		if !e.Good() {
			continue
		}
		good = append(good, e)
		if e.At.Sub(now) <= clockSlack {
			past = append(past, e)
		}
	}
	keep := reasons{}
	keep.newest(good)
	keep.newest(past)
	spared := maps.Clone(keep)
	p.keep(past, keep)
	p.limit(past, keep, spared, now)
	var d Decision
	for _, e := range es {
		switch {
		case len(keep[e.ID]) > 0:
			d.Keep = append(d.Keep, Verdict{ID: e.ID, Reason: strings.Join(keep[e.ID], ", ")})
		case e.Good() && e.At.Sub(now) > clockSlack:
			d.Keep = append(d.Keep, Verdict{ID: e.ID, Reason: "its time is still to come: this node's clock or that of the node that made it is wrong"})
		case e.Unread:
			d.Keep = append(d.Keep, Verdict{ID: e.ID, Reason: "it could not be read, which says nothing of it: " + e.Problem})
		case !e.Good() && p == (Policy{}):
			d.Keep = append(d.Keep, Verdict{ID: e.ID, Reason: "it cannot be used as it is, and no rule removes anything: " + e.Problem})
		case e.Good():
			d.Remove = append(d.Remove, Verdict{ID: e.ID, Reason: "no rule of the retention keeps it"})
		case len(good) == 0 || good[0].ID < e.ID:
			d.Keep = append(d.Keep, Verdict{ID: e.ID, Reason: "it cannot be used as it is, and there is no newer good one: " + e.Problem})
		case now.Sub(e.At) < abandonedAfter:
			d.Keep = append(d.Keep, Verdict{ID: e.ID, Reason: "it cannot be used as it is, and is too young to be given up: " + e.Problem})
		default:
			d.Remove = append(d.Remove, Verdict{ID: e.ID, Reason: "it cannot be used, and newer good ones are there: " + e.Problem})
		}
	}
	for _, u := range c.Unfinished {
		if now.Sub(u.At) < abandonedAfter {
			d.Keep = append(d.Keep, Verdict{ID: u.ID, Reason: "it may be being written"})
		} else {
			d.Remove = append(d.Remove, Verdict{ID: u.ID, Reason: "it was never finished", Unfinished: true})
		}
	}
	return d
}

// reasons to keep a backup, by its name.
type reasons map[string][]string

func (r reasons) add(e Entry, reason string) {
	if !slices.Contains(r[e.ID], reason) {
		r[e.ID] = append(r[e.ID], reason)
	}
}

// newest keeps the newest of all and the newest proven one.
func (r reasons) newest(good []Entry) {
	if len(good) > 0 {
		r.add(good[0], "the newest")
	}
	if i := slices.IndexFunc(good, func(e Entry) bool { return e.Proof != nil }); i >= 0 {
		r.add(good[i], "the newest proven")
	}
}

// keep applies the rules to entries, newest first.
func (p Policy) keep(good []Entry, r reasons) {
	for i, e := range good {
		if !p.rules() {
			r.add(e, "no rule says how many to keep")
		}
		if i < p.Last {
			r.add(e, fmt.Sprintf("among the last %d", p.Last))
		}
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
				r.add(e, "the newest of its "+rule.name)
				left, last = left-1, period
			}
		}
	}
}

// limit takes from what the rules keep what is too old or too much, oldest first; never one that always stays.
func (p Policy) limit(good []Entry, keep, spared reasons, now time.Time) {
	var size int64
	for _, e := range good {
		if _, ok := keep[e.ID]; !ok {
			continue
		}
		size += e.Size
		old := p.MaxAge > 0 && now.Sub(e.At) > time.Duration(p.MaxAge)
		if len(spared[e.ID]) == 0 && (old || p.MaxSize > 0 && size > p.MaxSize) {
			delete(keep, e.ID)
			size -= e.Size
		}
	}
}

// Prune removes what was decided.
func Prune(ctx context.Context, s store.Store, d Decision) error {
	for _, v := range d.Remove {
		var err error
		if v.Unfinished {
			_, err = removeUnfinished(ctx, s, v.ID)
		} else {
			err = remove(ctx, s, v.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
