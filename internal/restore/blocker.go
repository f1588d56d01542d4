package restore

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/durable"
)

// The blocker is a regular file in the place of etcd's member directory. An etcd that is started beside it can not make
// its directories and ends with an error, where in an empty data dir it would begin a new, empty cluster (I2).
const (
	blockerFirst = "ceo restore has not finished here."
	blockerMade  = "This directory was made by it."
	blockerText  = blockerFirst + `
This file keeps etcd from starting without data. Run the same ceo restore again; it goes on where it can.
`
)

// newBlocker makes the file at path, which must be free, whole and flushed and locked: whoever sees it sees all of it.
// The lock tells a restore that is under way from one that was interrupted.
func newBlocker(path string, made bool) (lock *os.File, err error) {
	name, err := randomName()
	if err != nil {
		return nil, err
	}
	tmp := filepath.Join(filepath.Dir(path), blockerTmp+name)
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in the data dir that the user names
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp)
		}
	}()
	if err := flock(f); err != nil {
		return nil, err
	}
	text := blockerText
	if made {
		text += blockerMade + "\n"
	}
	if _, err := f.WriteString(text); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	durable.Point("restore: blocker written")
	return f, durable.RenameNew(tmp, path)
}

const blockerTmp = ".member.ceo-"

// openBlocker locks the blocker at path; fs.ErrNotExist if what is there is none.
func openBlocker(path string) (lock *os.File, made bool, err error) {
	ours, made, err := isBlocker(path)
	if err != nil {
		return nil, false, err
	}
	if !ours {
		return nil, false, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	lock, err = openLocked(path)
	return lock, made, err
}

func openLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // it was looked at
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func isBlocker(path string) (ours, made bool, err error) {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, false, err
	}
	f, err := os.Open(path) //nolint:gosec // as above
	if err != nil {
		return false, false, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	return strings.HasPrefix(string(text), blockerFirst), strings.Contains(string(text), blockerMade), err
}

// isSecondBlocker: one whose removal was interrupted is empty, and an empty directory is nothing that could be lost.
func isSecondBlocker(path string) (bool, error) {
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) == 0 {
		return err == nil, err
	}
	ours, _, err := isBlocker(filepath.Join(path, touchWords))
	return ours && len(entries) == 1, err
}

var errAtWork = errors.New("another ceo restore is at work here; wait for it, or end it")

// flock takes the lock if it can be had now. File systems without locks do without.
func flock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // a file descriptor fits an int
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errAtWork
	}
	return nil
}

func randomName() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}
