package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"clusteretcd.io/ceo/internal/datadir"
)

// needed bytes: the database once, the two files that a WAL has of 64 MB each, and a tenth for what file systems keep
// for themselves.
func needed(size int64) uint64 {
	const walFiles = 2 * 64_000_000
	db := uint64(max(size, 0))
	return db + db/10 + walFiles
}

func checkSpace(dataDir string, size int64) error {
	dir, err := existing(dataDir)
	if err != nil {
		return err
	}
	return datadir.RequireSpace(dir, needed(size))
}

// noSpace names the place and the need where a disk filled up all the same.
func noSpace(dataDir string, size int64, err error) error {
	if err == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	no := &datadir.NoSpaceError{Path: dataDir, Need: needed(size)}
	if dir, existErr := existing(dataDir); existErr == nil {
		if free, _, spaceErr := datadir.Space(dir); spaceErr == nil {
			no.Free = free
		}
	}
	return fmt.Errorf("%w (%w)", no, err)
}

// existing is path, or the nearest of its parents that exists.
func existing(path string) (string, error) {
	for {
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
			return "", err
		}
		path = filepath.Dir(path)
	}
}

// missing are the directories from leaf upwards that do not exist: what is to be removed again when it was made for
// nothing.
func missing(leaf string) (dirs []string, err error) {
	top, err := existing(leaf)
	if err != nil {
		return nil, err
	}
	for dir := leaf; dir != top; dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
	}
	return dirs, nil
}
