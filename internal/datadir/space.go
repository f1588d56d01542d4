package datadir

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Space of the file system that path is on, in bytes: free is what root may still use, total its size.
func Space(path string) (free, total uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	block := uint64(s.Bsize) //nolint:gosec // block sizes are positive
	return s.Bavail * block, s.Blocks * block, nil
}

// ErrNoSpace is what NoSpaceError wraps.
var ErrNoSpace = errors.New("not enough free space")

// NoSpaceError says where how much is missing.
type NoSpaceError struct {
	Path       string
	Need, Free uint64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("%v on the file system of %s: need %s, have %s; make room or choose another place",
		ErrNoSpace, e.Path, mib(e.Need), mib(e.Free))
}

func (e *NoSpaceError) Unwrap() error { return ErrNoSpace }

func mib(b uint64) string { return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20)) }

// RequireSpace fails with a NoSpaceError if path's file system has fewer than need bytes free (P27, I25).
func RequireSpace(path string, need uint64) error {
	free, _, err := Space(path)
	if err != nil {
		return err
	}
	if free < need {
		return &NoSpaceError{Path: path, Need: need, Free: free}
	}
	return nil
}
