//go:build integration

package keep_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/store"
)

// Killed in any phase, a run leaves no backup; the next one makes one beside it, leaves alone what may be another's, and
// clears it once it is old (P27).
func TestKilledMidWay(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	fill(t, c, 20)
	m := newMachine(t, c, 0)
	for i, phase := range []string{"storing the snapshot", "storing the control plane's files", "reading the database back", "reading the files back"} {
		cmd := child{Do: "create", Root: m.root, Local: m.Local, KillAt: phase}.command(t)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL { //nolint:errcheck // on Linux it is one
			t.Fatalf("%s: %v: %s", phase, err, out)
		}
		if l := m.list(t); len(l.Entries) != i || len(l.Unfinished) > 1 {
			t.Fatalf("%s: %+v", phase, l)
		}
		young := m.list(t).Unfinished
		if made := m.create(t); len(made.Cleared) != 0 || made.Warning != "" {
			t.Fatalf("%s: cleared %v, %s", phase, made.Cleared, made.Warning)
		}
		if l := m.list(t); len(l.Good()) != i+1 || len(l.Unfinished) != len(young) {
			t.Fatalf("%s: %+v", phase, l)
		}
		// A day later.
		for _, u := range young {
			files, err := filepath.Glob(filepath.Join(m.Paths.Backups(), u.ID, "*"))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			at := time.Now().Add(-25 * time.Hour)
			for _, f := range files {
				if err := os.Chtimes(f, at, at); err != nil {
					t.Fatal(err)
				}
			}
		}
		made := m.create(t)
		if len(made.Cleared) != len(young) || len(m.list(t).Unfinished) != 0 {
			t.Fatalf("%s: cleared %v, left %+v", phase, made.Cleared, m.list(t).Unfinished)
		}
		if _, err := m.Prune(etcdtest.Context(t), false); err != nil {
			t.Fatal(err)
		}
		// One backup for each round stays.
		if err := os.RemoveAll(filepath.Join(m.Paths.Backups(), made.Manifest.ID)); err != nil {
			t.Fatal(err)
		}
		// What a killed writer was in the middle of is no object, and is gone with the next writer.
		err = filepath.WalkDir(m.Paths.Backups(), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(filepath.Base(path), ".part") {
				err = fmt.Errorf("%s is left", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// P27: on a disk that is too small nothing is begun; one that fills meanwhile ends the run. Both errors name the path and
// what is needed; nothing is left that could be taken for a backup, and the one that is there stays whole.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own needs root")
	}
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	fill(t, c, 20)
	cli := c.Client(t)
	for i := range 8 {
		if _, err := cli.Put(etcdtest.Context(t), fmt.Sprintf("/noise/%d", i), noise(1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t, c, 0)
	cmd := child{Do: "full disk", Root: m.root, Local: m.Local}.command(t)
	// A mount that nobody else sees, and that ends with the process.
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // what does not compress
	return string(b)
}

func (c child) onAFullDisk(ctx context.Context, k keep.Keeper) error {
	dir := k.Paths.Backups()
	mount := func(mib int) error {
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib))
		}
		return err
	}
	if err := mount(10); err != nil {
		return err
	}
	_, err := k.Create(ctx, true, quiet)
	if !errors.Is(err, datadir.ErrNoSpace) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "need ") {
		return fmt.Errorf("too small: %w", err)
	}
	if err := nothingThere(ctx, k, 0); err != nil {
		return err
	}
	if err := errors.Join(unix.Unmount(dir, 0), mount(200)); err != nil {
		return err
	}
	if _, err := k.Create(ctx, true, quiet); err != nil {
		return err
	}
	for _, phase := range []string{"storing the snapshot", "storing the control plane's files"} {
		filler := filepath.Join(dir, "somebody-elses")
		filled := false
		_, err = k.Create(ctx, true, func(p string, _, _ int64) {
			if p == phase && !filled {
				filled = true
				f, err := os.Create(filler) //nolint:gosec // the child's own disk
				for b := make([]byte, 64<<10); err == nil; {
					_, err = f.Write(b)
				}
				_ = f.Close()
			}
		})
		if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "takes up to") {
			return fmt.Errorf("%s: %w", phase, err)
		}
		if err := errors.Join(os.Remove(filler), nothingThere(ctx, k, 1)); err != nil {
			return fmt.Errorf("%s: %w", phase, err)
		}
	}
	_, err = k.Verify(ctx, "latest", quiet)
	return err
}

// nothingThere but the good backups that were there before.
func nothingThere(ctx context.Context, k keep.Keeper, good int) error {
	l, err := k.List(ctx)
	if err == nil && (len(l.Entries) != good || len(l.Good()) != good || len(l.Unfinished) != 0) {
		err = fmt.Errorf("there is %+v", l)
	}
	return err
}

// peakLimit is the goal of facts on performance: a backup runs beside etcd on a node that is short of memory.
const peakLimit = 150 << 20

// The memory that a backup takes does not grow with the database.
func TestMemory(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true, Args: []string{"--unsafe-no-fsync"}})
	fill(t, c, 20)
	cli := c.Client(t)
	for i := range 300 {
		if _, err := cli.Put(etcdtest.Context(t), fmt.Sprintf("/noise/%03d", i), noise(1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t, c, 0)
	cmd := child{Root: m.root, Local: m.Local}.command(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e := m.list(t).Good()
	if len(e) != 1 || e[0].Manifest.Database.Size < 300<<20 {
		t.Fatalf("%+v", e)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("no usage")
	}
	peak := usage.Maxrss << 10
	t.Logf("a database of %d MiB: peak %d MiB", e[0].Manifest.Database.Size>>20, peak>>20)
	if peak > peakLimit {
		t.Errorf("peak %d MiB, the limit is %d", peak>>20, peakLimit>>20)
	}
}
