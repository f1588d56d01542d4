package restore_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/restore"
)

func TestBumpBy(t *testing.T) {
	const m = restore.Margin
	for _, row := range []struct {
		name             string
		snapshot, served int64
		want             uint64
		ok               bool
	}{
		{"nothing known to have been served", 1000, 0, m, true},
		{"served what the snapshot has", 1000, 1000, m, true},
		{"served more", 1000, 5000, 4000 + m, true},
		{"a snapshot of after the last record", 5000, 1000, m, true},
		{"after an earlier recovery's bump", 1000, 3*m + 5, 3*m + 5 - 1000 + m, true},
		{"the greatest that still fits", 1, math.MaxInt64 - m, math.MaxInt64 - m - 1 + m, true},
		{"no room", 1, math.MaxInt64 - m + 1, 0, false},
		{"no room in the snapshot", math.MaxInt64 - m + 1, 1, 0, false},
		{"negative", -1, 0, 0, false},
		{"negative served", 1, -1, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := restore.BumpBy(row.snapshot, row.served)
			if (err == nil) != row.ok || got != row.want {
				t.Fatalf("got %d, %v; want %d", got, err, row.want)
			}
		})
	}
}

// TestBumpIsBeyondAnythingServed (I15, P3).
func TestBumpIsBeyondAnythingServed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snapshot := rapid.Int64Min(0).Draw(t, "snapshot")
		served := rapid.Int64Min(0).Draw(t, "served")
		by, err := restore.BumpBy(snapshot, served)
		if max(snapshot, served) > math.MaxInt64-restore.Margin {
			if err == nil {
				t.Fatalf("bumped by %d past what a revision can be", by)
			}
			return
		}
		if err != nil || by > math.MaxInt64 {
			t.Fatalf("%d, %v", by, err)
		}
		after := snapshot + int64(by)
		if after < snapshot+restore.Margin || after < served+restore.Margin {
			t.Fatalf("begins at %d: snapshot %d, served %d", after, snapshot, served)
		}
	})
}
