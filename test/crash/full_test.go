//go:build integration

package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// tmpfs mounts one of a size; unmounted at the end of the test.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fullDisk checks the end of a run that the disk was too small for (P27): it names the place and the need.
func fullDisk(t *testing.T, e ended, dir string) {
	t.Helper()
	if e.code != 1 || !strings.Contains(e.stderr, dir) || !strings.Contains(e.stderr, "not enough free space") || !strings.Contains(e.stderr, "need ") {
		t.Errorf("want exit code 1 and an error that names %s and what it needs, got %s", dir, e)
	}
	if strings.Contains(e.stderr, "panic") || e.stdout != "" {
		t.Errorf("stdout %q, stderr %s", e.stdout, e.stderr)
	}
}

// onlyEntry: nothing was left behind, nothing was touched.
func onlyEntry(t *testing.T, dir, name, content string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("P27: %s holds %s, %v; want %s alone", dir, names(entries), err, name)
	}
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != content { //nolint:gosec // the test's own
		t.Errorf("I1: %s is %q, %v", name, got, err)
	}
}

func other(t *testing.T, dir string) string {
	t.Helper()
	const content = "somebody else's"
	if err := os.WriteFile(filepath.Join(dir, "other"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return content
}

// TestRestoreOnASmallDisk: the room is looked at before the first byte is written (I25, P27).
func TestRestoreOnASmallDisk(t *testing.T) {
	needRoot(t)
	dir := tmpfs(t, "size=32m")
	mine := other(t, dir)
	s := newSubject(t, source(t), filepath.Join(dir, "a", "data"))
	fullDisk(t, runCeo(t, nil, s.args()...), dir)
	onlyEntry(t, dir, "other", mine)
}

// TestRestoreWithoutInodes: the room is there, and each file and directory in turn is the one that cannot be made.
func TestRestoreWithoutInodes(t *testing.T) {
	needRoot(t)
	fx := source(t)
	failed := 0
	for inodes := 2; inodes < 60; inodes++ {
		dir := tmpfs(t, fmt.Sprintf("size=1g,nr_inodes=%d", inodes))
		s := newSubject(t, fx, filepath.Join(dir, "data"))
		e := runCeo(t, nil, s.args()...)
		if e.code == 0 {
			if o, err := s.look(t.Context(), ""); err != nil || o != whole {
				t.Errorf("%s, %v", o, err)
			}
			t.Logf("%d runs failed, each at another file, and left nothing", failed)
			if failed < 5 {
				t.Error("too few failed to prove anything")
			}
			return
		}
		failed++
		if e.code != 1 || !strings.Contains(e.stderr, dir) || !strings.Contains(e.stderr, "no space left") {
			t.Errorf("%d inodes: %s", inodes, e)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%d inodes: left %s, %v", inodes, names(entries), err)
		}
	}
	t.Error("it never came to its end")
}

// TestDiskFillsDuringARestore: it was large enough when the restore began, and at some point of it somebody else takes
// all there is. Either it fails, says so and leaves nothing, or it had what it needed and is whole. With the room back
// a second run gets there.
func TestDiskFillsDuringARestore(t *testing.T) {
	needRoot(t)
	fx := source(t)
	s, want, points := prepare(t, newSubject(t, fx, ""), false, false)
	blank := format(t, "ext4")
	var failed, done int
	for _, p := range spread(points, 16) {
		t.Run(fmt.Sprint(p.number), func(t *testing.T) {
			fs, s := onDisk(t, "ext4", blank, s, false, false)
			filler := filepath.Join(fs.dir, "filler")
			e := stopAt(t, p, func() { fill4k(t, filler) }, s.args()...)
			o, err := s.look(t.Context(), want)
			switch {
			case err != nil:
				t.Fatalf("filled at %s: %v; it ended with %s", p, err, e)
			case e.code == 0 && o == whole:
				done++
			case e.code != 0 && o == old:
				failed++
				fullDisk(t, e, s.dataDir)
			default:
				t.Fatalf("filled at %s: left the state %s, and ended with %s", p, o, e)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if o == old {
				if e := runCeo(t, nil, s.args()...); e.code != 0 {
					t.Fatalf("filled at %s: with the room back: %s", p, e)
				}
				if o, err := s.look(t.Context(), want); err != nil || o != whole {
					t.Errorf("filled at %s: with the room back: %s, %v", p, o, err)
				}
			}
		})
	}
	t.Logf("disk filled at %d points: %d failed and left nothing, %d had what they needed", failed+done, failed, done)
	if failed == 0 {
		t.Error("none failed: this proves nothing")
	}
}

// stopAt runs ceo, has it stop at a point, and lets it go on after meanwhile.
func stopAt(t *testing.T, p point, meanwhile func(), args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, ceo, args...) //nolint:gosec // built by TestMain
	return runCommand(ctx, t, cmd, []string{fmt.Sprint("CEO_STOP_AT=", p.number)}, func(proc *os.Process) {
		etcdtest.Eventually(t, fmt.Sprintf("ceo to stop at %s", p), func() (bool, string) {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", proc.Pid))
			if err != nil {
				return false, err.Error()
			}
			_, state, _ := strings.Cut(string(stat), ") ")
			if strings.HasPrefix(state, "Z") {
				t.Fatalf("it ended and did not come to %s", p)
			}
			return strings.HasPrefix(state, "T"), state
		})
		meanwhile()
		if err := proc.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
}

// fill4k takes all room that a file system has, to the last block.
func fill4k(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	at := int64(0)
	for step := int64(64 << 20); step >= 4096; {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, at, step) //nolint:gosec // a descriptor fits an int
		switch {
		case err == nil:
			at += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		default:
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotOnAFullDisk: nothing half-written is left to be taken for whole, and what was there stays (P14, P27).
func TestSnapshotOnAFullDisk(t *testing.T) {
	needRoot(t)
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	fill(t, c.Client(t))
	dir := tmpfs(t, "size=4m")
	mine := other(t, dir)
	file := filepath.Join(dir, "snapshot.db")
	e := runCeo(t, nil, "snapshot", "save", file, "--endpoint", c.Members[0].ClientURL,
		"--cacert", c.PKI.CA, "--cert", c.PKI.ClientCert, "--key", c.PKI.ClientKey)
	fullDisk(t, e, dir)
	onlyEntry(t, dir, "other", mine)

	// Room enough, and no inode for the file.
	dir = tmpfs(t, "size=1g,nr_inodes=2")
	mine, file = other(t, dir), filepath.Join(dir, "snapshot.db")
	e = runCeo(t, nil, "snapshot", "save", file, "--endpoint", c.Members[0].ClientURL,
		"--cacert", c.PKI.CA, "--cert", c.PKI.ClientCert, "--key", c.PKI.ClientKey)
	if e.code != 1 || !strings.Contains(e.stderr, file) || !strings.Contains(e.stderr, "no space left") {
		t.Errorf("want exit code 1 and an error that names %s, got %s", file, e)
	}
	onlyEntry(t, dir, "other", mine)
}
