package backup

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyCatalogue has good, proven, damaged and unread backups, on both sides of now.
func anyCatalogue(t *rapid.T) Catalogue {
	var c Catalogue
	for i := range rapid.IntRange(0, 30).Draw(t, "n") {
		at := noon.Add(time.Duration(rapid.IntRange(-5000, 5000).Draw(t, "hours"))*time.Hour + time.Duration(i)*time.Second)
		problem := ""
		if rapid.IntRange(0, 3).Draw(t, "bad") == 0 {
			problem = "damaged"
		}
		e := entry(at, problem == "" && rapid.Bool().Draw(t, "proven"), problem)
		e.Unread = problem != "" && rapid.Bool().Draw(t, "unread")
		e.Size = int64(rapid.IntRange(0, 1000).Draw(t, "size"))
		c.Entries = append(c.Entries, e)
	}
	return c
}

func anyPolicy(t *rapid.T) Policy {
	n := func(name string) int { return rapid.IntRange(0, 5).Draw(t, name) }
	return Policy{
		Last: n("last"), Hourly: n("hourly"), Daily: n("daily"), Weekly: n("weekly"), Monthly: n("monthly"),
		MaxAge: Duration(time.Duration(n("age")) * 100 * time.Hour), MaxSize: int64(n("maxSize")) * 300,
	}
}

func anyNow(t *rapid.T) time.Time {
	return noon.Add(time.Duration(rapid.IntRange(-10_000, 10_000).Draw(t, "skew")) * time.Hour)
}

// I18: whatever lies there, whatever the policy and the clock say, the newest good one and the newest proven one stay,
// and nothing goes of which it is not certain that it is of no use or not wanted.
func TestRetainNeverTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, p, now := anyCatalogue(t), anyPolicy(t), anyNow(t)
		d := Retain(c, p, now)
		if len(d.Keep)+len(d.Remove) != len(c.Entries) {
			t.Fatal("an entry has no verdict, or two")
		}
		for _, v := range append(slices.Clone(d.Keep), d.Remove...) {
			if v.Reason == "" {
				t.Fatal("a verdict without a reason")
			}
		}
		newest, proven, good := "", "", 0
		for _, e := range c.Entries {
			if e.Good() {
				good++
				newest = max(newest, e.ID)
			}
			if e.Good() && e.Proof != nil {
				proven = max(proven, e.ID)
			}
		}
		removed := ids(d.Remove)
		for _, id := range []string{newest, proven} {
			if id != "" && slices.Contains(removed, id) {
				t.Fatalf("I18: %s is removed", id)
			}
		}
		goes := 0
		for _, e := range c.Entries {
			switch {
			case !slices.Contains(removed, e.ID):
			case e.Unread:
				t.Fatalf("%s could not be read, and is removed", e.ID)
			case e.Good() && e.At.Sub(now) > clockSlack:
				t.Fatalf("%s is of the future, and is removed", e.ID)
			case !e.Good() && newest < e.ID:
				t.Fatalf("I18: %s is removed, and no newer good one is there", e.ID)
			case e.Good():
				goes++
			}
		}
		if p == (Policy{}) && len(removed) > 0 {
			t.Fatalf("no rule, and %v are removed", removed)
		}
		if kept := good - goes; p.MaxAge == 0 && p.MaxSize == 0 && kept < min(good, p.Last) {
			t.Fatalf("%d of %d are kept, %d were asked for", kept, good, p.Last)
		}
	})
}

// A rule more never removes more, a limit more never keeps more.
func TestRetainIsMonotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, p, now := anyCatalogue(t), anyPolicy(t), anyNow(t)
		p.MaxSize = 0 // what a size takes away depends on what else is kept
		if !p.rules() {
			p.Last = 1 // no rule keeps all: a first one removes
		}
		before := ids(Retain(c, p, now).Remove)
		more := p
		more.Last, more.Hourly, more.Daily, more.Weekly, more.Monthly = p.Last+1, p.Hourly+1, p.Daily+1, p.Weekly+1, p.Monthly+1
		for _, id := range ids(Retain(c, more, now).Remove) {
			if !slices.Contains(before, id) {
				t.Fatalf("%s is removed because more is to be kept", id)
			}
		}
		if p.MaxAge == 0 {
			less := p
			less.MaxAge = Duration(50 * time.Hour)
			after := ids(Retain(c, less, now).Remove)
			for _, id := range before {
				if !slices.Contains(after, id) {
					t.Fatalf("%s is kept because of a limit", id)
				}
			}
		}
	})
}

// Carried out, a decision leads to one that removes nothing: prune twice is prune once.
func TestRetainSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, p, now := anyCatalogue(t), anyPolicy(t), anyNow(t)
		d := Retain(c, p, now)
		removed := ids(d.Remove)
		c.Entries = slices.DeleteFunc(c.Entries, func(e Entry) bool { return slices.Contains(removed, e.ID) })
		if again := Retain(c, p, now); len(again.Remove) > 0 && !slices.ContainsFunc(again.Remove, func(v Verdict) bool { return !strings.Contains(v.Reason, "rule") }) {
			t.Fatalf("a second run removes %v", again.Remove)
		}
	})
}
