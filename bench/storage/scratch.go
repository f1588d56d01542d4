package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock keeps a second run out of the same folder: they would disturb each other's figures anyway.
func lock(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir) //nolint:gosec // given by the user
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor fits an int
		return nil, errors.Join(fmt.Errorf("another run works in %s: %w", dir, err), f.Close())
	}
	return f.Close, nil
}

func (b *bench) path(name string) string { return filepath.Join(b.scratch, "work", name) }

// clear removes what the last way wrote, and waits until the file system has nothing left to write of it.
func (b *bench) clear() error {
	work := filepath.Join(b.scratch, "work")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	return flush(work)
}

// flush is sync of one file system.
func flush(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // of this program
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil { //nolint:gosec // a descriptor fits an int
		return fmt.Errorf("flush the file system of %s: %w", dir, err)
	}
	return nil
}

// requireSpace before a run fills the disk.
func requireSpace(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need { //nolint:gosec // no disk has 2^63 bytes
		return fmt.Errorf("%s has %s free, this needs %s: give another folder with -dir, or smaller -sizes", dir, size(free), size(need))
	}
	return nil
}
