package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// An unfinished file is .NAME.RANDOM.part beside its target: its own name for each writer, so that two of one key do
// not mix, and a lock that ends with its process, so that what a killed writer left is told from what is being written.
var unfinishedName = regexp.MustCompile(`^\..+\.[A-Z2-7]{26}\.part$`)

func unfinished(name string) bool { return unfinishedName.MatchString(name) }

// createUnfinished makes and locks the unfinished file of target.
func createUnfinished(target string) (*os.File, error) {
	dir, base := filepath.Split(target)
	for {
		path := filepath.Join(dir, "."+base+"."+rand.Text()+".part")
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode) //nolint:gosec // a checked key below the root
		if err != nil {
			return nil, err
		}
		if err := flock(file, unix.LOCK_EX); err != nil {
			_ = os.Remove(path) //nolint:gosec // see above
			_ = file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// Between creating and locking, a sweep may have taken it for a dead writer's.
		if here, err := os.Stat(path); err == nil { //nolint:gosec // see above
			if mine, err := file.Stat(); err == nil && os.SameFile(here, mine) {
				return file, nil
			}
		}
		_ = file.Close()
	}
}

// flock takes the file's lock, again where a signal came between.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how) //nolint:gosec // a descriptor fits an int
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// removeDead removes the unfinished files of dir that nobody holds. What goes wrong is left for the next time: it is
// only space.
func removeDead(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Type().IsRegular() && unfinished(e.Name()) {
			removeIfDead(filepath.Join(dir, e.Name()))
		}
	}
}

func removeIfDead(path string) {
	// For writing: a network file system gives an exclusive lock only then.
	f, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // an unfinished file below the root
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return // it is being written
	}
	_ = os.Remove(path)
}

// removeDeadBelow does it for every folder below root.
func removeDeadBelow(root string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { //nolint:gosec // the store's own root
		switch {
		case err != nil && d != nil && d.IsDir():
			return fs.SkipDir
		case err != nil:
			return nil //nolint:nilerr // see removeDead
		case d.Type().IsRegular() && strings.HasSuffix(path, ".part") && unfinished(d.Name()):
			removeIfDead(path)
		}
		return nil
	})
}
