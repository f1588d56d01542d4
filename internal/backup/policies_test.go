package backup_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/backup"
)

func TestParsePolicies(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     backup.Policies
	}{
		{"one", `{"last":3,"maxAge":"720h"}`, backup.Policies{{Last: 3, MaxAge: backup.Duration(720 * time.Hour)}}},
		{"several", ` [{"last":3},{"daily":7}]`, backup.Policies{{Last: 3}, {Daily: 7}}},
		{"a rule that is not known here", `{"last":3,"yearly":2}`, nil},
		{"a negative number", `[{"last":3},{"daily":-1}]`, nil},
		{"an empty list", `[]`, nil},
		{"nothing", ``, nil},
		{"two", `{"last":3}{"last":4}`, nil},
		{"a list and more", `[{"last":3}]{"last":4}`, nil},
		{"no JSON", `last: 3`, nil},
	} {
		got, err := backup.ParsePolicies([]byte(tt.in))
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

// Whatever several retentions say, what goes is what every one of them alone would remove, and never the newest good one
// or the newest proven one (I18).
func TestPoliciesKeepWhatAnyKeeps(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var c backup.Catalogue
		for i := range rapid.IntRange(0, 12).Draw(t, "backups") {
			at := now.Add(-time.Duration(rapid.IntRange(-48, 24*60).Draw(t, "age")) * time.Hour).Add(-time.Duration(i) * time.Second)
			e := backup.Entry{ID: at.Format("20060102t150405z") + "-0000", At: at, Size: int64(rapid.IntRange(1, 9).Draw(t, "size"))}
			if rapid.Bool().Draw(t, "proven") {
				e.Proof = &backup.Proof{}
			}
			if rapid.IntRange(0, 5).Draw(t, "damaged") == 0 {
				e.Problem = "damaged"
			}
			c.Entries = append(c.Entries, e)
		}
		var ps backup.Policies
		for range rapid.IntRange(1, 3).Draw(t, "policies") {
			ps = append(ps, backup.Policy{
				Last: rapid.IntRange(0, 3).Draw(t, "last"), Daily: rapid.IntRange(0, 3).Draw(t, "daily"),
				MaxAge: backup.Duration(time.Duration(rapid.IntRange(0, 100).Draw(t, "maxAge")) * time.Hour), MaxSize: int64(rapid.IntRange(0, 20).Draw(t, "maxSize")),
			})
		}
		d := ps.Retain(c, now)
		removed := map[string]int{}
		for _, p := range ps {
			for _, v := range backup.Retain(c, p, now).Remove {
				removed[v.ID]++
			}
		}
		for _, v := range d.Remove {
			if removed[v.ID] != len(ps) {
				t.Fatalf("%s goes, and one of %+v keeps it", v.ID, ps)
			}
			delete(removed, v.ID)
		}
		for id, n := range removed {
			if n == len(ps) {
				t.Fatalf("%s stays, and none of %+v keeps it", id, ps)
			}
		}
		if len(d.Keep)+len(d.Remove) != len(c.Entries) {
			t.Fatalf("%d and %d of %d", len(d.Keep), len(d.Remove), len(c.Entries))
		}
		es := slices.Clone(c.Entries)
		slices.SortFunc(es, func(a, b backup.Entry) int { return strings.Compare(b.ID, a.ID) })
		gone := func(e backup.Entry) bool {
			return slices.ContainsFunc(d.Remove, func(v backup.Verdict) bool { return v.ID == e.ID })
		}
		for _, want := range []func(backup.Entry) bool{backup.Entry.Good, func(e backup.Entry) bool { return e.Good() && e.Proof != nil }} {
			if i := slices.IndexFunc(es, want); i >= 0 && gone(es[i]) {
				t.Fatalf("the newest goes: %s", es[i].ID)
			}
		}
	})
}

// In a store that clusters share, one removes only what is its own, and another's backup stands in for none of its own.
func TestOwn(t *testing.T) {
	entry := func(id, cluster, problem string) backup.Entry {
		return backup.Entry{ID: id, Problem: problem, Manifest: backup.Manifest{Cluster: backup.Cluster{ClusterID: cluster}}}
	}
	ours := func(id string) bool { return id == "a1" || id == "a2" }
	unfinished := []backup.Unfinished{{ID: "5"}}
	own, keep := backup.Own(backup.Catalogue{Entries: []backup.Entry{entry("4", "b", ""), entry("3", "", "damaged"), entry("2", "a2", ""), entry("1", "a1", "")}, Unfinished: unfinished}, ours)
	if len(own.Entries) != 2 || own.Entries[0].ID != "2" || len(own.Unfinished) != 0 || len(keep) != 3 {
		t.Errorf("%+v %+v", own, keep)
	}
	all := backup.Catalogue{Entries: []backup.Entry{entry("3", "", "damaged"), entry("2", "a2", "")}, Unfinished: unfinished}
	if own, keep := backup.Own(all, ours); len(own.Entries) != 2 || len(own.Unfinished) != 1 || len(keep) != 0 {
		t.Errorf("of this cluster alone: %+v %+v", own, keep)
	}
}
