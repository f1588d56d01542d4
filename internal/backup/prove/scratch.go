package prove

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const prefix = "prove-"

// begin makes a folder for one run and holds a lock on it: a folder without one is what a killed run left.
func begin(scratch string) (dir string, unlock func(), err error) {
	dir, err = os.MkdirTemp(scratch, prefix)
	if err != nil {
		return "", nil, fmt.Errorf("scratch space: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), os.RemoveAll(dir))
	}
	return dir, func() { _ = lock.Close() }, nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir) //nolint:gosec // the run's own folder
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor fits an int
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes what killed runs left: copies of backups that lie elsewhere.
func sweep(scratch string) error {
	entries, err := os.ReadDir(scratch)
	if err != nil {
		return fmt.Errorf("scratch space: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		dir := filepath.Join(scratch, e.Name())
		lock, err := lockDir(dir)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("scratch space %s: %w", dir, err)
		}
		err = os.RemoveAll(dir)
		_ = lock.Close()
		if err != nil {
			return fmt.Errorf("clear scratch space: %w", err)
		}
	}
	return nil
}
