//go:build integration

package crash

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fileSystem lies in an image file and is mounted through a loop device. What its files hold gets into the image when
// the file system writes it: by a flush, or some seconds later. A copy of the image, made while it is mounted, is what
// a disk has after a power loss at that moment.
type fileSystem struct {
	kind  string
	image string
	dir   string // where it is mounted

	mounted bool
}

// kinds of file systems. Sizes: a restore wants 128 MB for etcd's WAL beside the database, and mkfs.xfs 300 MiB; the
// images are sparse.
var kinds = []struct {
	name, mkfs string
	mkfsArgs   []string
	options    string
	size       int64
}{
	// noauto_da_alloc: without it ext4 flushes a file by itself when it replaces another, and hides a missing flush.
	{"ext4", "mkfs.ext4", []string{"-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"}, "loop,noatime,noauto_da_alloc,commit=300", 400 << 20},
	// nouuid: copies of one image are mounted beside each other.
	{"xfs", "mkfs.xfs", []string{"-q", "-f", "-m", "reflink=1"}, "loop,noatime,nouuid", 400 << 20},
}

// format makes an image with an empty file system, to be copied for each use.
func format(t testing.TB, kind string) string {
	t.Helper()
	for _, k := range kinds {
		if k.name != kind {
			continue
		}
		image := filepath.Join(t.TempDir(), kind+".img")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, k.size); err != nil {
			t.Fatal(err)
		}
		command(t, k.mkfs, append(k.mkfsArgs, image)...)
		return image
	}
	t.Fatalf("no file system %s", kind)
	return ""
}

// attach mounts an image; unmounted at the end of the test.
func attach(t testing.TB, kind, image string) *fileSystem {
	t.Helper()
	fs := &fileSystem{kind: kind, image: image, dir: t.TempDir()}
	fs.mount(t)
	t.Cleanup(func() { fs.unmount(t) })
	return fs
}

func (fs *fileSystem) mount(t testing.TB) {
	t.Helper()
	for _, k := range kinds {
		if k.name == fs.kind {
			// The mount frees its loop device when it goes.
			command(t, "mount", "-t", k.name, "-o", k.options, fs.image, fs.dir)
			fs.mounted = true
		}
	}
}

// unmount, if it is mounted.
func (fs *fileSystem) unmount(t testing.TB) {
	t.Helper()
	if !fs.mounted {
		return
	}
	fs.mounted = false
	// A process that another test has forked holds all files of this one until it has become what it is to be.
	deadline := time.Now().Add(runLimit)
	for {
		err := unix.Unmount(fs.dir, 0)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			t.Errorf("unmount %s: %v", fs.dir, err)
			_ = unix.Unmount(fs.dir, unix.MNT_DETACH) // it goes when nobody uses it any more
			return
		}
		time.Sleep(10 * time.Millisecond) // nothing tells
	}
}

// losePower copies the image as it is now, drops what the file system still had in memory, and mounts the copy in its
// place, as a machine does that comes back: its log is replayed.
func (fs *fileSystem) losePower(t testing.TB) {
	t.Helper()
	after := filepath.Join(t.TempDir(), "after.img")
	copySparse(t, fs.image, after)
	// Not needed for the copy, and unmounting would write it all out first.
	const shutdown, noLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN and its flag, linux/fs.h
	if d, err := os.Open(fs.dir); err == nil {
		_ = unix.IoctlSetPointerInt(int(d.Fd()), shutdown, noLogFlush) //nolint:gosec // a descriptor fits an int
		_ = d.Close()
	}
	fs.unmount(t)
	if err := os.Remove(fs.image); err != nil {
		t.Error(err)
	}
	fs.image = after
	fs.mount(t)
}

// copySparse copies what is in a file and leaves its holes.
func copySparse(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	st, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	if err := out.Truncate(st.Size()); err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < st.Size(); {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA) //nolint:gosec // a descriptor fits an int
		if errors.Is(err, unix.ENXIO) {
			return // a hole to the end
		}
		if err != nil {
			t.Fatal(err)
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE) //nolint:gosec // as above
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, hole-data)); err != nil {
			t.Fatal(err)
		}
		at = hole
	}
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s(the programs come with `make deps`)", fmt.Sprint(name, " ", strings.Join(args, " ")), err, out)
	}
}
