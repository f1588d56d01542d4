//go:build integration

package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/durable"
)

// counts are the outcomes of a sweep.
type counts struct {
	sync.Mutex
	all map[outcome]int
}

// add counts and says which one of its kind it was.
func (c *counts) add(o outcome) int {
	c.Lock()
	defer c.Unlock()
	if c.all == nil {
		c.all = map[outcome]int{}
	}
	c.all[o]++
	return c.all[o]
}

func (c *counts) String() string {
	return fmt.Sprintf("%d old, %d blocked, %d whole; 0 on which etcd boots empty or half", c.all[old], c.all[blocked], c.all[whole])
}

// bootEvery of the whole states is served by a real etcd; the others are compared file by file with one that is.
const bootEvery = 8

// atLeast is what the sweeps must have, so that a change of the code does not empty them.
const atLeast = 40

// limit of the points of a sweep, besides those that are always taken.
func limit() int {
	if os.Getenv("CEO_E2E_FULL") != "" {
		return 120
	}
	return atLeast
}

// TestKillSweep kills `ceo restore` at every point that matters (I2, P13): what is left is the old state, or a data dir
// on which etcd refuses to start, or the whole new one; and a second run always gets there.
func TestKillSweep(t *testing.T) {
	fx := source(t)
	for _, row := range []struct {
		name   string
		empty  bool // the data dir is there, and empty
		wal    bool // --wal-dir
		backup bool // of a backup, streamed from its store
		env    []string
	}{
		{name: "no data dir"},
		{name: "an empty data dir", empty: true},
		{name: "a WAL directory of its own", wal: true},
		{name: "a backup", backup: true},
		{name: "a file system that can not exchange", env: []string{"CEO_DENY=exchange"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSubject(t, fx, "")
			if row.backup {
				s.backup = backedUp(t, fx)
			}
			s.env = row.env
			s, want, points := prepare(t, s, row.empty, row.wal)
			chosen := choose(points, limit())
			if len(chosen) < atLeast {
				t.Fatalf("%d points, want at least %d: %v", len(chosen), atLeast, points)
			}
			var c counts
			t.Run("points", func(t *testing.T) {
				for _, p := range chosen {
					t.Run(fmt.Sprint(p.number), func(t *testing.T) {
						t.Parallel()
						s := place(t, s, row.empty, row.wal)
						if e := s.run(t, fmt.Sprint("CEO_KILL_AT=", p.number)); !e.killed {
							t.Fatalf("%s: not killed: %s", p, e)
						}
						s.check(t, p.String(), want, &c)
					})
				}
			})
			t.Logf("%d of %d points: %s", len(chosen), len(points), &c)
			if c.all[blocked] == 0 || c.all[whole] == 0 {
				t.Errorf("the sweep missed a state: %s", &c)
			}
		})
	}
}

// prepare restores once without a kill: what it makes is what all others must make, and its points are those to kill at.
func prepare(t *testing.T, s subject, empty, wal bool) (_ subject, want string, points []point) {
	t.Helper()
	s = place(t, s, empty, wal)
	points = learn(t, s)
	if o, err := s.look(t.Context(), ""); err != nil || o != whole {
		t.Fatalf("after a whole run: %s, %v", o, err)
	}
	want, err := s.digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.serves(t)
	return s, want, points
}

// place is the same restore into a place of its own.
func place(t *testing.T, s subject, empty, wal bool) subject {
	t.Helper()
	dir := t.TempDir()
	s = s.at(filepath.Join(dir, "data"))
	if empty {
		if err := durable.MkdirAll(s.dataDir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if wal {
		s.walDir = filepath.Join(dir, "wal")
	}
	return s
}

// check looks at what a kill left, has etcd try it, and restores again.
func (s subject) check(t *testing.T, when, want string, c *counts) {
	t.Helper()
	o, err := s.look(t.Context(), want)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	nth := c.add(o)
	switch {
	case o == blocked:
		s.refuses(t)
	case o == whole && nth%bootEvery == 1:
		s.serves(t)
		return // etcd has written to it: no longer what a restore makes
	}
	e := s.run(t)
	if o == whole && e.code != 0 {
		// It does not touch what is whole, and says so.
		if e.code != 4 {
			t.Errorf("%s: restored again over a whole data dir: %s", when, e)
		}
	} else if e.code != 0 {
		t.Errorf("%s, which left the state %s: a second run fails: %s", when, o, e)
		return
	}
	if again, err := s.look(t.Context(), want); err != nil || again != whole {
		t.Errorf("%s, which left the state %s: after a second run: %s, %v", when, o, again, err)
	}
	s.leavesNothing(t, when)
}

// leavesNothing: a run that ended well cleans up behind an earlier one that did not.
func (s subject) leavesNothing(t *testing.T, when string) {
	t.Helper()
	if s.walDir != "" {
		entries, err := os.ReadDir(s.walDir)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: after a second run the WAL directory holds %s, %v", when, names(entries), err)
		}
	}
	staging, err := os.ReadDir(filepath.Join(s.dataDir, ".ceo", "staging"))
	if err == nil && len(staging) > 0 {
		t.Errorf("%s: after a second run there is still %s in the staging directory", when, names(staging))
	}
	beside, err := os.ReadDir(filepath.Dir(s.dataDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range beside {
		if n := e.Name(); n != "data" && n != "wal" && n != "lost+found" {
			t.Errorf("%s: after a second run there is %s beside the data dir", when, n)
		}
	}
}

// TestKillAtAnyTime kills it by the clock, in the middle of whatever it does.
func TestKillAtAnyTime(t *testing.T) {
	fx := source(t)
	s, want, _ := prepare(t, newSubject(t, fx, ""), false, false)
	begin := time.Now()
	if e := runCeo(t, nil, s.at(filepath.Join(t.TempDir(), "data")).args()...); e.code != 0 {
		t.Fatal(e)
	}
	took := time.Since(begin)
	const seed = 20261124
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // moments, not secrets
	t.Logf("a run takes %s; seed %d", took, seed)
	var c counts
	for i := range 20 {
		after := time.Duration(random.Float64() * float64(took) * 1.1)
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s := place(t, s, i%2 == 0, false)
			e := killAfter(t, after, s.args()...)
			t.Logf("after %s: %s", after, strings.TrimSpace(e.String()))
			if !e.killed && e.code != 0 {
				t.Fatal(e)
			}
			s.check(t, "killed after "+after.String(), want, &c)
		})
	}
	t.Logf("20 moments: %s", &c)
}
