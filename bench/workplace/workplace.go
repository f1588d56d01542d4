// Package workplace is what the benches stand on: a folder of one run alone, and the programs that are measured.
package workplace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// Open makes a folder for this run in dir, which it makes where it is not there and keeps others out of: they would disturb
// each other's figures anyway. What runs that were killed have left is removed first. Leave removes the folder.
func Open(dir string) (scratch string, leave func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return "", nil, err
	}
	leave = func() error {
		err := errors.Join(os.RemoveAll(scratch), unlock())
		_ = os.Remove(dir) // when nothing is kept in it
		return err
	}
	// Nobody else has the lock, so these are of runs that were killed.
	left, err := filepath.Glob(filepath.Join(dir, "run-*"))
	for _, l := range left {
		err = errors.Join(err, os.RemoveAll(l))
	}
	if err == nil {
		scratch, err = os.MkdirTemp(dir, "run-")
	}
	if err != nil {
		return "", nil, errors.Join(err, unlock())
	}
	return scratch, leave, nil
}

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

// Flush is sync of one file system: what the last way wrote must not be written while the next one is measured.
func Flush(dir string) error {
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

// EtcdDir is the folder that has all of etcd's programs of these names: the given one, else $CEO_ETCD_BIN, else the lab's.
func EtcdDir(given string, names ...string) (string, error) {
	dir := given
	if dir == "" {
		dir = os.Getenv("CEO_ETCD_BIN")
	}
	if dir == "" {
		cache := os.Getenv("CEO_LAB_CACHE")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("%w; give the folder of etcd's binaries with -etcd", err)
			}
			cache = filepath.Join(home, ".cache", "ceo-lab")
		}
		dir = filepath.Join(cache, "etcd-v"+etcdtest.Version, "bin")
	}
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(dir, n)); err != nil {
			return "", fmt.Errorf("%w: run `make deps-etcd`, or give the folder of etcd's binaries with -etcd", err)
		}
	}
	return dir, nil
}

// Ceo is the path of ceo's binary: the given one, else one that is built into scratch.
func Ceo(ctx context.Context, given, scratch string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	path := filepath.Join(scratch, "ceo")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "clusteretcd.io/ceo/cmd/ceo") //nolint:gosec // this project's own
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ceo (run this in its source tree, or give a binary with -ceo): %w: %s", err, out)
	}
	return path, nil
}
