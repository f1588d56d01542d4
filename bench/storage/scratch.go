package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/bench/workplace"
)

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
	return workplace.Flush(work)
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
