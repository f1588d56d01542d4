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

	"golang.org/x/sys/unix"
)

// A fileSystem lies in an image file and is mounted through a loop device. What its files hold gets into the image when
// the file system writes it: by a flush, or some seconds later. A copy of the image, made while it is mounted, is what
// a disk has after a power loss at that moment.
type fileSystem struct {
	kind  string
	image string
	dir   string // where it is mounted
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
	{"xfs", "mkfs.xfs", []string{"-q", "-f", "-m", "reflink=1"}, "loop,noatime", 400 << 20},
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

// attach mounts an image, replaying its log; unmounted at the end of the test.
func attach(t testing.TB, kind, image string) *fileSystem {
	t.Helper()
	options := ""
	for _, k := range kinds {
		if k.name == kind {
			options = k.options
		}
	}
	fs := &fileSystem{kind: kind, image: image, dir: t.TempDir()}
	// The mount frees its loop device when it goes.
	command(t, "mount", "-t", kind, "-o", options, image, fs.dir)
	t.Cleanup(func() { fs.detach(t) })
	return fs
}

// detach unmounts it; a second time it does nothing.
func (fs *fileSystem) detach(t testing.TB) {
	if fs.dir == "" {
		return
	}
	if err := unix.Unmount(fs.dir, 0); err != nil {
		t.Errorf("unmount %s: %v", fs.dir, err)
		// It goes when nobody uses it any more.
		_ = unix.Unmount(fs.dir, unix.MNT_DETACH)
	}
	fs.dir = ""
}

// losePower copies the image as it is now and mounts the copy, as a machine does that comes back. The old one is given
// up: what it held in memory is gone for the test.
func (fs *fileSystem) losePower(t testing.TB) *fileSystem {
	t.Helper()
	image := filepath.Join(t.TempDir(), "after.img")
	copySparse(t, fs.image, image)
	fs.giveUp(t)
	return attach(t, fs.kind, image)
}

// giveUp has the file system drop what it has not written, so that unmounting it does not take the time.
func (fs *fileSystem) giveUp(t testing.TB) {
	const goingDown, noLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN and its flag, linux/fs.h
	if d, err := os.Open(fs.dir); err == nil {
		_ = unix.IoctlSetPointerInt(int(d.Fd()), goingDown, noLogFlush) //nolint:gosec // a descriptor fits an int
		_ = d.Close()
	}
	image := fs.image
	fs.detach(t)
	if err := os.Remove(image); err != nil {
		t.Error(err)
	}
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
