package datadir_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"clusteretcd.io/ceo/internal/datadir"
)

// swap is what a recovery does to a data dir: set the old member aside, build a new one, put it in place. point is
// called at each place where a crash would hurt, in the code under test too.
func swap(dir string, source string, point func(string)) error {
	if _, err := datadir.Archive(dir, info("r1")); err != nil && !errors.Is(err, datadir.ErrNothing) && !errors.Is(err, datadir.ErrOccupied) {
		return err
	}
	point("swap: archived")
	err := datadir.BeginStaging(dir, "r1")
	if err == nil {
		point("swap: staging begun")
		if err := copyTree(source, datadir.StagingDir(dir, "r1"), point); err != nil {
			return err
		}
		point("swap: built")
		err = datadir.FinishStaging(dir, "r1", datadir.Staged{IDs: theirs, Revision: 7})
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	point("swap: staged")
	return datadir.Activate(dir, "r1")
}

func copyTree(from, to string, point func(string)) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path) //nolint:gosec // the test's own files
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, b[:len(b)/2], 0o600); err != nil {
			return err
		}
		point("swap: half of " + rel)
		return os.WriteFile(target, b, 0o600)
	})
}

// TestCrashChild is the process that the crash test kills; by itself it does nothing.
func TestCrashChild(t *testing.T) {
	dir, source, at := os.Getenv("CEO_CRASH_DIR"), os.Getenv("CEO_CRASH_SOURCE"), os.Getenv("CEO_CRASH_AT")
	if dir == "" {
		t.SkipNow()
	}
	point := func(p string) {
		if p == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	datadir.SetFaultPoint(point)
	if err := swap(dir, source, point); err != nil {
		t.Fatal(err)
	}
}

// TestKilledAnywhere (I1, I2, I20): whatever the moment, the old data is whole in one place, what is in etcd's place
// is whole or nothing, and doing it again ends in the same state as an undisturbed run.
func TestKilledAnywhere(t *testing.T) {
	source := t.TempDir()
	writeMember(t, source, theirs)
	var points []string
	collect := t.TempDir()
	writeMember(t, collect, ours)
	point := func(p string) { points = append(points, p) }
	datadir.SetFaultPoint(point)
	if err := swap(collect, source, point); err != nil {
		t.Fatal(err)
	}
	datadir.SetFaultPoint(func(string) {})
	if len(points) < 12 {
		t.Fatalf("only %q", points)
	}
	for _, p := range points {
		t.Run(p, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeMember(t, dir, ours)
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$") //nolint:gosec // this test itself
			cmd.Env = append(os.Environ(), "CEO_CRASH_DIR="+dir, "CEO_CRASH_SOURCE="+source, "CEO_CRASH_AT="+p)
			var ended *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed at its point: %v", err)
			}
			checkCrashed(t, dir)
			for range 2 {
				if err := swap(dir, source, func(string) {}); err != nil {
					t.Fatal(err)
				}
			}
			if place, held := checkCrashed(t, dir); place != theirs || held != 1 {
				t.Fatalf("ended with %+v in place and %d set aside", place, held)
			}
		})
	}
}

// checkCrashed gives the ids in etcd's place and how many entries hold data.
func checkCrashed(t *testing.T, dir string) (place datadir.IDs, held int) {
	t.Helper()
	old := 0
	id, err := datadir.Inspect(t.Context(), dir, everything)
	if err != nil || id.State == datadir.Damaged {
		t.Fatalf("I2: in etcd's place: %+v, %v", id, err)
	}
	if id.IDs == ours {
		old++
	}
	all, err := datadir.ListArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !e.Held {
			continue
		}
		held++
		a, err := datadir.Inspect(t.Context(), e.Path, everything)
		if err != nil || a.State != datadir.Present || a.IDs != ours || e.Identity.IDs != ours {
			t.Fatalf("I1: set aside: %+v, %v", a, err)
		}
		old++
	}
	if old != 1 {
		t.Fatalf("I1: %d copies of the old data", old)
	}
	return id.IDs, held
}

// TestInspectOfAnyDamage: no content leads to a panic, and damage is never an error.
func TestInspectOfAnyDamage(t *testing.T) {
	dir := t.TempDir()
	writeMember(t, dir, ours)
	files := append(walFiles(t, dir), datadir.BackendPath(dir))
	r := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // repeatable
	for i := range 800 {
		path := files[r.IntN(len(files))]
		good := read(t, path)
		what := ""
		edit(t, path, func(b []byte) []byte {
			if i%5 == 0 {
				n := r.IntN(len(b))
				what = fmt.Sprintf("%s cut to %d", path, n)
				return b[:n]
			}
			at := r.IntN(min(len(b), 20_000))
			b[at] ^= byte(1 + r.IntN(255))
			what = fmt.Sprintf("%s changed at %d", path, at)
			return b
		})
		id, err := datadir.Inspect(t.Context(), dir, everything)
		if err != nil || id.State == datadir.None || (id.State == datadir.Damaged) != (id.Why != "") {
			t.Fatalf("%s: %+v, %v", what, id, err)
		}
		if id.IDs != (datadir.IDs{}) && id.IDs != ours {
			t.Fatalf("%s: took it for %+v", what, id.IDs)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
