package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// RenameNew moves oldPath to newPath, flushes both parents and fails with fs.ErrExist when newPath is taken, an empty
// directory included (rename(2) alone replaces that silently). The kernel does check and move as one step; file
// systems without that (some network ones) get a check before the rename.
func RenameNew(oldPath, newPath string) error {
	Point("rename to " + newPath)
	err := unix.Renameat2(unix.AT_FDCWD, oldPath, unix.AT_FDCWD, newPath, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if _, statErr := os.Lstat(newPath); !errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Errorf("rename %s to %s: %w", oldPath, newPath, fs.ErrExist)
		}
		err = os.Rename(oldPath, newPath)
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", oldPath, newPath, err)
	}
	Point("renamed to " + newPath)
	return syncParents(oldPath, newPath)
}
