//go:build integration

package crash

import (
	"fmt"
	"path/filepath"
	"testing"

	"clusteretcd.io/ceo/internal/durable"
)

// TestPowerLoss takes the power away at the same points (I21): what was not flushed is gone, and the condition is the
// same: the old state, or one that etcd refuses, or the whole new one.
func TestPowerLoss(t *testing.T) {
	needRoot(t)
	fx := source(t)
	for _, row := range []struct {
		kind       string
		empty, wal bool
	}{{"ext4", false, false}, {"xfs", true, false}, {"ext4", true, true}} {
		kind := row.kind
		t.Run(fmt.Sprintf("%s, empty data dir %t, WAL directory %t", kind, row.empty, row.wal), func(t *testing.T) {
			s, want, points := prepare(t, newSubject(t, fx, ""), row.empty, row.wal)
			blank := format(t, kind)
			chosen := choose(points, atLeast)
			var c counts
			t.Run("points", func(t *testing.T) {
				for _, p := range chosen {
					t.Run(fmt.Sprint(p.number), func(t *testing.T) {
						t.Parallel()
						fs, s := onDisk(t, kind, blank, s, row.empty, row.wal)
						if e := runCeo(t, []string{fmt.Sprint("CEO_KILL_AT=", p.number)}, s.args()...); !e.killed {
							t.Fatalf("%s: not killed: %s", p, e)
						}
						fs.losePower(t)
						s.check(t, "power lost at "+p.String(), want, &c)
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

// TestDoneMeansDurable: when `ceo restore` has said that it is done, the power may go (I21).
func TestDoneMeansDurable(t *testing.T) {
	needRoot(t)
	fx := source(t)
	for _, kind := range []string{"ext4", "xfs"} {
		for _, row := range []struct {
			name       string
			empty, wal bool
		}{{"no data dir", false, false}, {"an empty data dir", true, false}, {"a WAL directory of its own", false, true}} {
			t.Run(kind+", "+row.name, func(t *testing.T) {
				fs, s := onDisk(t, kind, format(t, kind), newSubject(t, fx, ""), row.empty, row.wal)
				if e := runCeo(t, nil, s.args()...); e.code != 0 {
					t.Fatal(e)
				}
				fs.losePower(t)
				if o, err := s.look(t.Context(), ""); err != nil || o != whole {
					t.Fatalf("%s, %v", o, err)
				}
				s.serves(t)
			})
		}
	}
}

// onDisk puts a restore on a fresh file system.
func onDisk(t *testing.T, kind, blank string, s subject, empty, wal bool) (*fileSystem, subject) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.img")
	copySparse(t, blank, image)
	fs := attach(t, kind, image)
	s = s.at(filepath.Join(fs.dir, "data"))
	if s.walDir = ""; wal {
		s.walDir = filepath.Join(fs.dir, "wal")
	}
	if empty {
		if err := durable.MkdirAll(s.dataDir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return fs, s
}
