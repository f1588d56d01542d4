package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/durable"
)

// swap is renameat2 with RENAME_EXCHANGE; a variable for tests of file systems that can not.
var swap = func(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// putInPlace exchanges the finished directory at staged with the blocker file at target: at each moment target is one
// or the other. The blocker is at staged then.
func putInPlace(staged, target string) error {
	durable.Point("restore: before the exchange")
	err := swap(staged, target)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return replaceBlocker(staged, target)
	case err != nil:
		return fmt.Errorf("exchange %s and %s: %w", staged, target, err)
	}
	durable.Point("restore: exchanged, not flushed")
	if err := durable.SyncDir(filepath.Dir(target)); err != nil {
		return errors.Join(err, swap(staged, target)) // not known to last: as before
	}
	// The other end of it is cleared away next; it is of no consequence whether it lasts.
	_ = durable.SyncDir(filepath.Dir(staged))
	return nil
}

// The second blocker is a directory where etcd, before anything else, writes a file to see whether it may: .touch. It
// stands while there is no member.
const (
	touchName  = ".touch"
	touchWords = "ceo-restore"
)

// replaceBlocker is for file systems that can not exchange (some network and stacked ones): the second blocker is there
// before the first one goes, and goes when the member is in place.
func replaceBlocker(staged, target string) error {
	dir := filepath.Dir(target)
	touch := filepath.Join(dir, touchName)
	// Made where all is ours, and brought here with its words in it: one without them could be anybody's.
	made := filepath.Join(filepath.Dir(staged), touchName)
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(made, touchWords), []byte(blockerText), 0o600); err != nil {
		return err
	}
	if err := durable.RenameNew(made, touch); err != nil {
		return err
	}
	durable.Point("restore: second blocker")
	if err := os.Remove(target); err != nil {
		return err
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	durable.Point("restore: between the blockers")
	if err := durable.RenameNew(staged, target); err != nil {
		return err
	}
	durable.Point("restore: in place, still blocked")
	if err := os.RemoveAll(touch); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}
