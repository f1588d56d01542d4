package backup

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func entry(at time.Time, proven bool, problem string) Entry {
	e := Entry{ID: at.UTC().Format("20060102t150405z") + "-" + fmt.Sprintf("%04x", at.Unix()%65536), At: at, Size: 100, Problem: problem}
	if proven {
		e.Proof = &Proof{}
	}
	return e
}

func timedOut(at time.Time) Entry {
	e := entry(at, false, "time-out")
	e.Unread = true
	return e
}

func ids(vs []Verdict) []string {
	var out []string
	for _, v := range vs {
		out = append(out, v.ID)
	}
	return out
}

func TestRetain(t *testing.T) {
	var hourly Catalogue
	for i := range 24 * 40 {
		hourly.Entries = append(hourly.Entries, entry(noon.Add(-time.Duration(i)*time.Hour), i == 100, ""))
	}
	for _, row := range []struct {
		name string
		p    Policy
		keep int
	}{
		{"no rule keeps all", Policy{}, 24 * 40},
		{"the last 5, and the proven one", Policy{Last: 5}, 6},
		{"24 hours and 7 days", Policy{Hourly: 24, Daily: 7}, 24 + 7 - 2 + 1},
		{"weeks", Policy{Weekly: 4}, 5},
		{"months", Policy{Monthly: 12}, 3},
		{"an age alone", Policy{MaxAge: Duration(10 * time.Hour)}, 12},
		{"a size alone", Policy{MaxSize: 1000}, 11},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := Retain(hourly, row.p, noon)
			if len(d.Keep) != row.keep || len(d.Keep)+len(d.Remove) != len(hourly.Entries) {
				t.Fatalf("%d kept, want %d; %v", len(d.Keep), row.keep, d.Keep[:min(12, len(d.Keep))])
			}
		})
	}
	for _, row := range []struct {
		name    string
		p       Policy
		es      []Entry
		removed []int // indexes of es
		says    string
	}{
		{"each rule keeps its own", Policy{Last: 1, Daily: 2}, []Entry{
			entry(noon, false, ""), entry(noon.Add(-time.Hour), false, ""), entry(noon.Add(-13*time.Hour), false, ""), entry(noon.Add(-14*time.Hour), false, ""),
		}, []int{1, 3}, "the newest, among the last 1, the newest of its day"},
		{"a gap takes no place", Policy{Daily: 3}, []Entry{
			entry(noon, false, ""), entry(noon.AddDate(0, 0, -20), false, ""), entry(noon.AddDate(0, 0, -40), false, ""), entry(noon.AddDate(0, 0, -60), false, ""),
		}, []int{3}, ""},
		{"a year's last week is one", Policy{Weekly: 2}, []Entry{
			entry(time.Date(2027, 1, 3, 9, 0, 0, 0, time.UTC), false, ""), entry(time.Date(2026, 12, 28, 9, 0, 0, 0, time.UTC), false, ""), entry(time.Date(2026, 12, 27, 9, 0, 0, 0, time.UTC), false, ""),
		}, []int{1}, ""},
		{"too old, but proven", Policy{MaxAge: Duration(time.Hour)}, []Entry{
			entry(noon.Add(-2*time.Hour), false, ""), entry(noon.Add(-3*time.Hour), false, ""), entry(noon.Add(-4*time.Hour), true, ""), entry(noon.Add(-5*time.Hour), true, ""),
		}, []int{1, 3}, "the newest proven"},
		{"too much: the oldest goes", Policy{Last: 9, MaxSize: 250}, []Entry{
			entry(noon, false, ""), entry(noon.Add(-time.Hour), false, ""), entry(noon.Add(-2*time.Hour), false, ""),
		}, []int{2}, ""},
		{"the newest alone is too much", Policy{MaxSize: 1}, []Entry{entry(noon, false, "")}, nil, "the newest"},
		{"a clock was ahead once", Policy{Last: 1}, []Entry{
			entry(noon.AddDate(4, 0, 0), false, ""), entry(noon, false, ""), entry(noon.Add(-time.Hour), false, ""),
		}, []int{2}, "the newest"},
		{"this clock is behind", Policy{Last: 1, MaxAge: Duration(time.Hour)}, []Entry{
			entry(noon.AddDate(0, 0, 9), false, ""), entry(noon.AddDate(0, 0, 8), false, ""), entry(noon.AddDate(0, 0, 7), false, ""),
		}, nil, "still to come"},
		{"what could not be read stays", Policy{Last: 1}, []Entry{
			entry(noon, false, ""), timedOut(noon.AddDate(0, -1, 0)), entry(noon.AddDate(0, -2, 0), false, ""),
		}, []int{2}, "says nothing of it"},
		{"no policy removes no damaged one", Policy{}, []Entry{entry(noon, false, ""), entry(noon.AddDate(0, -1, 0), false, "damaged")}, nil, "no rule removes"},
		{"a damaged one counts for nothing", Policy{Last: 2}, []Entry{
			entry(noon, false, ""), entry(noon.Add(-time.Hour), false, "damaged"), entry(noon.Add(-2*time.Hour), false, ""), entry(noon.Add(-3*time.Hour), false, ""),
		}, []int{3}, "too young"},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := noon
			if row.es[0].At.Year() == 2027 {
				now = row.es[0].At
			}
			d := Retain(Catalogue{Entries: row.es}, row.p, now)
			var want []string
			for _, i := range row.removed {
				want = append(want, row.es[i].ID)
			}
			if got := ids(d.Remove); !slices.Equal(got, want) {
				t.Fatalf("removed %v, want %v; kept %v", got, want, d.Keep)
			}
			if !slices.ContainsFunc(d.Keep, func(v Verdict) bool { return strings.Contains(v.Reason, row.says) }) {
				t.Fatalf("nothing says %q: %v", row.says, d.Keep)
			}
		})
	}
	t.Run("what cannot be used", func(t *testing.T) {
		c := Catalogue{
			Entries: []Entry{
				entry(noon.Add(-time.Hour), false, "damaged"), entry(noon.Add(-2*time.Hour), false, ""),
				entry(noon.Add(-3*time.Hour), false, "damaged"), entry(noon.Add(-50*time.Hour), false, "damaged"),
			},
			Unfinished: []Unfinished{{ID: "20261124t110000z-0000", At: noon.Add(-time.Hour)}, {ID: "20261101t110000z-0000", At: noon.Add(-500 * time.Hour)}},
		}
		d := Retain(c, Policy{Last: 1}, noon)
		want := []string{c.Entries[3].ID, "20261101t110000z-0000"}
		if got := ids(d.Remove); !slices.Equal(got, want) {
			t.Fatalf("removed %v, want %v", got, want)
		}
	})
}

// A newer one that cannot be read now is not passed over in silence: an older one would lose what it has.
func TestFindUnread(t *testing.T) {
	es := []Entry{timedOut(noon), entry(noon.Add(-time.Hour), true, "")}
	for _, name := range []string{Latest, LatestProven, es[0].ID} {
		if _, err := Find(es, name); err == nil || !strings.Contains(err.Error(), "could not be read") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e, err := Find(es, es[1].ID); err != nil || e.ID != es[1].ID {
		t.Error(err)
	}
	if _, err := Find(es[:1], Latest); err == nil || !strings.Contains(err.Error(), "time-out") {
		t.Error(err)
	}
	if e, err := Find(append(es[1:], timedOut(noon.Add(-2*time.Hour))), Latest); err != nil || e.ID != es[1].ID {
		t.Errorf("an older unread one is in the way: %v", err)
	}
}

func TestFind(t *testing.T) {
	a, b, c := entry(noon, false, "damaged"), entry(noon.Add(-time.Hour), false, ""), entry(noon.Add(-30*time.Hour), true, "")
	es := []Entry{a, b, c}
	for _, row := range []struct{ name, want, says string }{
		{"latest", b.ID, ""},
		{"latest-proven", c.ID, ""},
		{c.ID, c.ID, ""},
		{"20261123", c.ID, ""},
		{"20261124", "", "beginning of 2"},
		{a.ID, "", "damaged"},
		{"20250101", "", "ceo backup list"},
		{"", "", "ceo backup list"},
	} {
		got, err := Find(es, row.name)
		if got.ID != row.want || (err == nil) != (row.want != "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%q: %q, %v", row.name, got.ID, err)
		}
	}
	if _, err := Find(es[:2], LatestProven); err == nil || !strings.Contains(err.Error(), "prove") {
		t.Error(err)
	}
	if _, err := Find(es[:1], Latest); err == nil || !strings.Contains(err.Error(), "create") {
		t.Error(err)
	}
}
