package restore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

func params(t testing.TB, b etcdtest.Backend) restore.Params {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	if err := os.WriteFile(path, b.Snapshot(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return restore.Params{
		Snapshot: path, DataDir: filepath.Join(dir, "data"), StagingID: "r1", Name: "cp-1", PeerURL: "https://10.0.0.1:2380",
	}
}

func threeMembers() etcdtest.Backend {
	return etcdtest.Backend{
		Entries:         append(etcdtest.Puts(2, 300, 200), etcdtest.Entry{Main: 400, Key: "/registry/000003", Tombstone: true}),
		FinishedCompact: 20, ConsistentIndex: 500, Term: 9, StorageVersion: "3.7.0", ClusterVersion: "3.7.0",
		Members: []backend.Member{{ID: 1, Name: "cp-1"}, {ID: 2, Name: "cp-2"}, {ID: 3, Name: "cp-3", IsLearner: true}},
		Removed: []uint64{4, 5}, Leases: []int64{7, 8},
	}
}

// recorded is what is said of a restore that was done before: it takes no time.
func recorded(r restore.Result) restore.Result {
	r.Elapsed = restore.Elapsed{}
	return r
}

func TestStage(t *testing.T) {
	p := params(t, threeMembers())
	p.ServedRevision = 1234
	r, err := restore.Stage(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.SnapshotRevision != 400 || r.Revision != 1234+restore.Margin || r.Keys != 299 || !strings.HasPrefix(r.Token, "ceo-") || len(r.Token) != 36 {
		t.Fatalf("%+v", r)
	}
	id, err := datadir.Inspect(t.Context(), datadir.StagingDir(p.DataDir, "r1"), datadir.InspectOptions{WALTail: true, WalkBackend: true})
	if err != nil || id.State != datadir.Present || id.ClusterID != r.ClusterID || len(id.Members) != 1 || len(id.Removed) != 0 {
		t.Fatalf("%+v, %v", id, err)
	}
	if _, err := os.Stat(datadir.MemberDir(p.DataDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("put in place: %v", err)
	}
	// The source may be gone when a recovery resumes: what is staged is enough (I20).
	if err := os.Remove(p.Snapshot); err != nil {
		t.Fatal(err)
	}
	if again, err := restore.Stage(t.Context(), p); err != nil || again != recorded(r) {
		t.Fatalf("%+v, %v", again, err)
	}
	// But not for a store that begins below what is now known to have been served (I15).
	p.ServedRevision = r.Revision
	if _, err := restore.Stage(t.Context(), p); !errors.Is(err, restore.ErrOtherParams) {
		t.Fatalf("got %v", err)
	}
}

// TestStageWhenTheLastDeletesWereCompactedAway: the store's revision is above its last entry then, and the library
// counts its bump from the last entry.
func TestStageWhenTheLastDeletesWereCompactedAway(t *testing.T) {
	b := threeMembers()
	b.FinishedCompact = 9_000_000_000
	p := params(t, b)
	p.ServedRevision = 9_000_000_500
	r, err := restore.Stage(t.Context(), p)
	if err != nil || r.SnapshotRevision != 9_000_000_000 || r.Revision != 9_000_000_500+restore.Margin {
		t.Fatalf("I15: %+v, %v", r, err)
	}
}

// TestStageAnyStore: whatever is in the store, the revision is beyond and every key is kept (I10, I15).
func TestStageAnyStore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := etcdtest.Backend{StorageVersion: "3.7.0", ConsistentIndex: 9, Term: 1}
		rev, live := int64(1), map[string]bool{}
		for range rapid.IntRange(0, 60).Draw(rt, "changes") {
			rev += rapid.Int64Range(1, 3).Draw(rt, "step")
			key := fmt.Sprintf("k%d", rapid.IntRange(0, 9).Draw(rt, "key"))
			del := live[key] && rapid.Bool().Draw(rt, "delete")
			b.Entries = append(b.Entries, etcdtest.Entry{Main: rev, Key: key, Value: "v", Tombstone: del})
			if live[key] = !del; del {
				delete(live, key)
			}
		}
		b.FinishedCompact = rapid.Int64Range(0, rev+5).Draw(rt, "compacted")
		p := params(t, b)
		p.ServedRevision = rapid.Int64Range(0, 2*rev).Draw(rt, "served")
		r, err := restore.Stage(t.Context(), p)
		if err != nil {
			rt.Fatal(err)
		}
		if want := max(rev, b.FinishedCompact, p.ServedRevision) + restore.Margin; r.Revision != want || r.Keys != int64(len(live)) {
			rt.Fatalf("%+v; want revision %d and %d keys", r, want, len(live))
		}
		_ = os.RemoveAll(filepath.Dir(p.Snapshot))
	})
}

type builder func(ctx context.Context, b restore.Build) (snapshot.Info, restore.Elapsed, error)

func (f builder) Build(ctx context.Context, b restore.Build) (snapshot.Info, restore.Elapsed, error) {
	return f(ctx, b)
}

// spoilt builds as it should and does something else besides.
func spoilt(before func(*restore.Build), after func(dir string) error) builder {
	return func(ctx context.Context, b restore.Build) (snapshot.Info, restore.Elapsed, error) {
		if before != nil {
			before(&b)
		}
		info, e, err := restore.Native{}.Build(ctx, b)
		if err == nil && after != nil {
			err = after(b.Dir)
		}
		return info, e, err
	}
}

// TestStageProvesWhatWasBuilt: a builder that does something else is found out, and nothing of it is left.
func TestStageProvesWhatWasBuilt(t *testing.T) {
	for _, row := range []struct {
		name string
		b    builder
		says string
	}{
		{"fails as on a full disk", func(_ context.Context, b restore.Build) (info snapshot.Info, e restore.Elapsed, err error) {
			return info, e, errors.Join(os.MkdirAll(filepath.Join(b.Dir, "member", "snap"), 0o700), syscall.ENOSPC)
		}, "not enough free space on the file system of"},
		{"builds nothing", func(context.Context, restore.Build) (info snapshot.Info, e restore.Elapsed, err error) {
			return info, e, nil
		}, "none"},
		{"bumps too little", spoilt(func(b *restore.Build) {
			revise := b.Revise
			b.Revise = func(info snapshot.Info) (int64, error) {
				rev, err := revise(info)
				return rev - 1, err
			}
		}, nil), "revision"},
		{"does not bump", spoilt(func(b *restore.Build) {
			b.Revise = func(snapshot.Info) (int64, error) { return 0, nil }
		}, nil), "revision 400, compacted up to 20"},
		{"another name", spoilt(func(b *restore.Build) { b.Name = "cp-9" }, nil), "cp-9"},
		{"one member more", spoilt(func(b *restore.Build) {
			b.Initial = b.Name + "=" + b.PeerURLs[0] + ",cp-2=https://10.0.0.2:2380"
		}, nil), "2 members"},
		{"leaves a stray file", spoilt(nil, func(dir string) error {
			return os.WriteFile(filepath.Join(datadir.WALDir(dir), "note.txt"), nil, 0o600)
		}), "note.txt"},
		{"loses the backend's end", spoilt(nil, func(dir string) error {
			return os.Truncate(datadir.BackendPath(dir), 16384)
		}), "cut short"},
		{"does not write the WAL", spoilt(nil, func(dir string) error {
			return os.RemoveAll(datadir.WALDir(dir))
		}), "damaged"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := params(t, threeMembers())
			_, err := restore.StageWith(t.Context(), row.b, p)
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v, want %q", err, row.says)
			}
			if err := datadir.Activate(p.DataDir, p.StagingID); !errors.Is(err, datadir.ErrUnfinished) {
				t.Fatalf("I2: %v", err)
			}
			if _, err := os.Stat(p.DataDir); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("P27: something unfinished is left: %v", err)
			}
			if _, err := restore.Stage(t.Context(), p); err != nil {
				t.Fatalf("the next try: %v", err)
			}
		})
	}
}

func TestStageChild(t *testing.T) {
	snap, dir := os.Getenv("CEO_STAGE_SNAPSHOT"), os.Getenv("CEO_STAGE_DATADIR")
	if snap == "" {
		t.SkipNow()
	}
	p := restore.Params{Snapshot: snap, DataDir: dir, StagingID: "r1", Name: "cp-1", PeerURL: "https://10.0.0.1:2380"}
	if _, err := restore.Stage(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := datadir.Activate(dir, "r1"); err != nil {
		t.Fatal(err)
	}
}

// TestKilledAtAnyTime kills a restore at moments spread over its whole run (I2): what is in etcd's place is nothing or
// the finished member, and the next run finishes.
func TestKilledAtAnyTime(t *testing.T) {
	t.Parallel()
	b := threeMembers()
	b.Entries = etcdtest.Puts(2, 8000, 1000)
	p := params(t, b)
	run := func(dir string, after time.Duration) (took time.Duration, done bool) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestStageChild$") //nolint:gosec // this test itself
		cmd.Env = append(os.Environ(), "CEO_STAGE_SNAPSHOT="+p.Snapshot, "CEO_STAGE_DATADIR="+dir)
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Where it lands does not matter, only that the moments are many.
		kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		err := cmd.Wait()
		return time.Since(begin), err == nil
	}
	whole, done := run(filepath.Join(t.TempDir(), "d"), time.Minute)
	if !done {
		t.Fatal("undisturbed, it failed")
	}
	const kills = 16
	unfinished := 0
	for i := range kills {
		dir := filepath.Join(t.TempDir(), "d")
		if _, done := run(dir, whole*time.Duration(i+1)/kills); !done {
			unfinished++
		}
		id, err := datadir.Inspect(t.Context(), dir, datadir.InspectOptions{WALTail: true, WalkBackend: true})
		if err != nil || id.State == datadir.Damaged || id.State == datadir.Present && (len(id.Members) != 1 || id.Revision < restore.Margin) {
			t.Fatalf("I2: killed after %d/%d: %+v, %v", i+1, kills, id, err)
		}
		again := p
		again.DataDir = dir
		r, err := restore.Stage(t.Context(), again)
		if err != nil {
			t.Fatal(err)
		}
		if err := datadir.Activate(dir, "r1"); err != nil {
			t.Fatal(err)
		}
		ids, err := datadir.ReadIDs(dir)
		if err != nil || !reflect.DeepEqual(ids, datadir.IDs{ClusterID: r.ClusterID, MemberID: r.MemberID}) {
			t.Fatalf("%+v, %v; want %+v", ids, err, r)
		}
		_ = os.RemoveAll(dir)
	}
	t.Logf("%d of %d runs were killed before their end (an undisturbed one took %s)", unfinished, kills, whole)
}

func TestSnapshotErrorsKeepTheirNames(t *testing.T) {
	p := params(t, threeMembers())
	if err := os.Truncate(p.Snapshot, 20000); err != nil {
		t.Fatal(err)
	}
	_, err := restore.Stage(t.Context(), p)
	if !errors.Is(err, snapshot.ErrTruncated) || !strings.Contains(err.Error(), p.Snapshot) {
		t.Fatalf("P13: %v", err)
	}
	if _, err := os.Stat(p.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("P13: written before the check: %v", err)
	}
}
