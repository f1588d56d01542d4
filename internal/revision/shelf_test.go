package revision

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

func newShelf(t testing.TB) Shelf {
	t.Helper()
	p := node.Paths{Root: t.TempDir()}
	raw, err := os.ReadFile("../staticpod/testdata/etcd-guarded.golden")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.Manifests(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Manifests(), staticpod.EtcdFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return Shelf{Paths: p}
}

func clock(at time.Duration) Clock { return Clock{Now: time.Unix(0, 0).Add(at), Boot: "b", Uptime: at} }

func (s Shelf) mustPlace(t testing.TB, c staticpod.Content) Plan {
	t.Helper()
	p, err := s.Plan(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Place(p, false, clock(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (s Shelf) mustNote(t testing.TB, good bool) {
	t.Helper()
	if err := s.Note(s.mustPresent(t).Revision, good, clock(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func (s Shelf) mustPresent(t testing.TB) Present {
	t.Helper()
	p, err := s.Present()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s Shelf) mustIndex(t testing.TB) Index {
	t.Helper()
	x, err := s.Index()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// A node that never had a revision goes back to what it had, byte for byte.
func TestRollBack(t *testing.T) {
	s := newShelf(t)
	first := s.mustPresent(t)
	if _, err := s.PlanBack(); !errors.Is(err, ErrNoGood) {
		t.Errorf("nothing is good yet: %v", err)
	}
	s.mustNote(t, true)
	bad := s.mustPlace(t, staticpod.Content{QuotaBytes: 8 << 30})
	if x := s.mustIndex(t); x.Placed != bad.Revision || x.LastGood != first.Revision {
		t.Errorf("%+v", x)
	}
	s.mustNote(t, false)
	back, err := s.PlanBack()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Place(back, false, clock(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if now := s.mustPresent(t); !bytes.Equal(now.Manifest, first.Manifest) {
		t.Errorf("it is not what it was:\n%s", now.Manifest)
	}
	// Being healthy with the old one says nothing of the new one.
	s.mustNote(t, true)
	if x := s.mustIndex(t); x.RolledBackFrom != bad.Revision || x.LastGood != first.Revision {
		t.Errorf("%+v", x)
	}
	if again, err := s.PlanBack(); err != nil || !again.Already {
		t.Errorf("asked again: %+v %v", again.Already, err)
	}
	// A later one does.
	s.mustPlace(t, staticpod.Content{QuotaBytes: 4 << 30})
	if x := s.mustIndex(t); x.RolledBackFrom != bad.Revision {
		t.Errorf("%+v", x)
	}
	s.mustNote(t, true)
	if x := s.mustIndex(t); x.RolledBackFrom != "" {
		t.Errorf("%+v", x)
	}
}

// What others have changed since stays when a node goes back.
func TestRollBackKeepsOthersChanges(t *testing.T) {
	s := newShelf(t)
	s.mustNote(t, true)
	s.mustPlace(t, staticpod.Content{QuotaBytes: 8 << 30})
	path := filepath.Join(s.Paths.Manifests(), staticpod.EtcdFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.ReplaceAll(raw, []byte("https://10.90.0.11:"), []byte("https://10.90.0.99:"))
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := s.PlanBack()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Place(back, false, clock(time.Minute)); err != nil {
		t.Fatal(err)
	}
	now := s.mustPresent(t)
	if !bytes.Contains(now.Manifest, []byte("10.90.0.99")) || now.Content.QuotaBytes != 2<<30 || now.Revision != s.mustIndex(t).LastGood {
		t.Errorf("%s", now.Manifest)
	}
}

func TestPlaceRefusesWhatOthersChangedMeanwhile(t *testing.T) {
	s := newShelf(t)
	p, err := s.Plan(staticpod.Content{QuotaBytes: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	s.mustPlace(t, staticpod.Content{QuotaBytes: 4 << 30})
	if err := s.Place(p, false, clock(0)); err == nil {
		t.Error("another's manifest was replaced")
	}
}

// I20, I21: killed at any point, the next call does the rest, and what can be gone back to is there.
func TestPlaceCrash(t *testing.T) {
	type crash struct{}
	for _, point := range []string{"revision kept", "index written", "manifest placed"} {
		for _, rollBack := range []bool{false, true} {
			s := newShelf(t)
			s.mustNote(t, true)
			good := s.mustPresent(t).Revision
			plan := func() (Plan, error) { return s.Plan(staticpod.Content{QuotaBytes: 8 << 30}) }
			if rollBack {
				s.mustPlace(t, staticpod.Content{QuotaBytes: 8 << 30})
				plan = s.PlanBack
			}
			from := s.mustPresent(t).Revision
			place := func() {
				p, err := plan()
				if err == nil {
					err = s.Place(p, false, clock(time.Minute))
				}
				if err != nil {
					t.Fatalf("%s: %v", point, err)
				}
			}
			func() {
				defer func() {
					reached = func(string) {}
					if _, ok := recover().(crash); !ok {
						t.Fatalf("%s was not reached", point)
					}
				}()
				reached = func(p string) {
					if p == point {
						panic(crash{})
					}
				}
				place()
			}()
			place()
			x := s.mustIndex(t)
			if x.LastGood != good || x.Placed != s.mustPresent(t).Revision {
				t.Errorf("%s, back %v: %+v", point, rollBack, x)
			}
			if rollBack && x.RolledBackFrom != from {
				t.Errorf("%s: it is forgotten what was gone back from: %+v", point, x)
			}
			if _, err := s.Read(good); err != nil {
				t.Errorf("%s: %v", point, err)
			}
		}
	}
}

func TestPlacedFor(t *testing.T) {
	x := Index{}.Place("a", "", false, false, Clock{Now: time.Unix(1000, 0), Boot: "b", Uptime: time.Hour})
	for name, c := range map[string]struct {
		now  Clock
		want time.Duration
	}{
		"a clock that jumps does not count": {Clock{Now: time.Unix(1e9, 0), Boot: "b", Uptime: time.Hour + time.Minute}, time.Minute},
		"after a reboot, since then":        {Clock{Now: time.Unix(2000, 0), Boot: "c", Uptime: time.Second}, time.Second},
	} {
		if got := x.PlacedFor(c.now); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Whatever happens in whatever order: what is placed, what is good and what was gone back from stays on the shelf, and no
// more than is needed.
func TestShelfNeverLosesWhatIsNeeded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newShelf(t)
		good := ""
		for range rapid.IntRange(1, 10).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0, 1:
				s.mustPlace(t, staticpod.Content{QuotaBytes: int64(rapid.IntRange(1, 12).Draw(rt, "quota")) << 30})
			case 2:
				s.mustNote(t, true)
				good = s.mustPresent(t).Revision
			case 3:
				p, err := s.PlanBack()
				if errors.Is(err, ErrNoGood) {
					continue
				}
				if err != nil {
					rt.Fatal(err)
				}
				if err := s.Place(p, false, clock(time.Minute)); err != nil {
					rt.Fatal(err)
				}
				if s.mustPresent(t).Revision != good {
					rt.Fatalf("it went back to another one than the good one")
				}
			}
			x := s.mustIndex(t)
			if x.LastGood != good {
				rt.Fatalf("the good one was lost: %+v, not %s", x, good)
			}
			for _, r := range []string{x.Placed, x.LastGood, x.RolledBackFrom} {
				if r == "" {
					continue
				}
				if _, err := s.Read(r); err != nil && slices.Contains(x.Kept, r) {
					rt.Fatalf("%s: %v", r, err)
				}
			}
			if good != "" {
				if _, err := s.Read(good); err != nil {
					rt.Fatal(err)
				}
			}
			if len(x.Kept) > Keep+1 {
				rt.Fatalf("%d are kept", len(x.Kept))
			}
		}
	})
}
