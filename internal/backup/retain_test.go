package backup

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func entry(at time.Time, proven bool, problem string) Entry {
	e := Entry{ID: at.UTC().Format("20060102t150405z") + "-" + fmt.Sprintf("%04x", at.Unix()%65536), At: at, Size: 100, Problem: problem}
	if proven {
		e.Proof = &Proof{}
	}
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

// I18: whatever lies there, whatever the policy and the clock say, the newest good one and the newest proven one stay.
func TestRetainNeverTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Catalogue
		for i := range rapid.IntRange(0, 30).Draw(t, "n") {
			at := noon.Add(time.Duration(rapid.IntRange(-5000, 5000).Draw(t, "hours"))*time.Hour + time.Duration(i)*time.Second)
			problem := ""
			if rapid.IntRange(0, 3).Draw(t, "bad") == 0 {
				problem = "damaged"
			}
			e := entry(at, problem == "" && rapid.Bool().Draw(t, "proven"), problem)
			e.Size = int64(rapid.IntRange(0, 1000).Draw(t, "size"))
			c.Entries = append(c.Entries, e)
		}
		n := func(name string) int { return rapid.IntRange(0, 5).Draw(t, name) }
		p := Policy{
			Last: n("last"), Hourly: n("hourly"), Daily: n("daily"), Weekly: n("weekly"), Monthly: n("monthly"),
			MaxAge: Duration(time.Duration(n("age")) * 100 * time.Hour), MaxSize: int64(n("size")) * 300,
		}
		d := Retain(c, p, noon.Add(time.Duration(rapid.IntRange(-10_000, 10_000).Draw(t, "skew"))*time.Hour))
		if len(d.Keep)+len(d.Remove) != len(c.Entries) {
			t.Fatal("an entry has no verdict")
		}
		for _, v := range append(slices.Clone(d.Keep), d.Remove...) {
			if v.Reason == "" {
				t.Fatal("a verdict without a reason")
			}
		}
		newest, proven := "", ""
		for _, e := range c.Entries {
			if e.Good() && e.ID > newest {
				newest = e.ID
			}
			if e.Good() && e.Proof != nil && e.ID > proven {
				proven = e.ID
			}
		}
		for _, id := range []string{newest, proven} {
			if id != "" && slices.Contains(ids(d.Remove), id) {
				t.Fatalf("I18: %s is removed", id)
			}
		}
		if newest == "" && slices.ContainsFunc(d.Remove, func(v Verdict) bool { return strings.Contains(v.Reason, "newer good") }) {
			t.Fatal("I18: removed for a good one that is not there")
		}
	})
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
