package dataset_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/internal/snapshot"
)

func TestMadeSnapshotIsWholeAndWhatItSays(t *testing.T) {
	spec := dataset.Spec{Size: 12 << 20, Seed: 1, Free: 0.1}
	path := filepath.Join(t.TempDir(), "s.db")
	info, err := dataset.Make(t.Context(), spec, path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := snapshot.Verify(t.Context(), path, snapshot.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Revision != info.Revision || got.CompactRevision != info.Compacted || got.TotalKeys != info.Entries ||
		got.LiveKeys != info.Keys || got.Leases != info.Leases || info.Leases == 0 {
		t.Errorf("made %+v, is %+v", info, got)
	}
	if off := float64(info.Size)/float64(spec.Size) - 1; off < -0.05 || off > 0.05 {
		t.Errorf("%d bytes, asked for %d", info.Size, spec.Size)
	}
	free := 1 - float64(got.InUse)/float64(info.Size)
	if free < 0.08 || free > 0.15 || info.Entries < 2*info.Keys || info.Compacted < info.Revision/10 {
		t.Errorf("%.3f free: %+v", free, info)
	}
}

func TestMakeRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	for _, s := range []dataset.Spec{{Size: 1000}, {Size: 2 << 20, Free: 0.5}, {Size: 2 << 20, Free: -1}} {
		if _, err := dataset.Make(t.Context(), s, path); err == nil {
			t.Errorf("%+v", s)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dataset.Make(ctx, dataset.Spec{Size: 2 << 20}, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
