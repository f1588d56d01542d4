// Package durable writes files so that they are whole and still there after a power loss at any moment (I21).
//
// A rename alone is not enough: until the directory is flushed, the file system may come back with the old name,
// the new name or, on some, an empty file. So every change here flushes the data first and the directory after.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile puts data at path with perm. A reader, or a crash at any moment, sees the old content or the new one whole.
// The temporary file is dot-prefixed and in the same directory: a directory that is watched for its files, as the
// kubelet's manifest directory is, ignores dot files, and a rename does not cross file systems.
func WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	Point("create for " + path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	Point("write " + path)
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// CreateTemp makes 0600 whatever the umask is; set before the rename so that the file never shows with other bits.
	if err := f.Chmod(perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	Point("flush " + path)
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: flush: %w", path, err)
	}
	Point("flushed " + path)
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	Point("renamed to " + path)
	return SyncDir(dir)
}

// SyncDir flushes a directory: the names in it survive a power loss after it returns.
func SyncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the caller names the directory
	if err != nil {
		return fmt.Errorf("flush directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	Point("flush directory " + dir)
	if err := d.Sync(); err != nil {
		return fmt.Errorf("flush directory %s: %w", dir, err)
	}
	Point("flushed directory " + dir)
	return nil
}

// SyncFile flushes a file that is already written.
func SyncFile(path string) error {
	// Read-only is enough: fsync flushes the inode's data whoever wrote it.
	f, err := os.Open(path) //nolint:gosec // the caller names the file
	if err != nil {
		return fmt.Errorf("flush file: %w", err)
	}
	defer func() { _ = f.Close() }()
	Point("flush " + path)
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush file %s: %w", path, err)
	}
	Point("flushed " + path)
	return nil
}

// SyncTree flushes every file and directory below root, children before parents, so that when root's own entry is
// made durable everything below it already is.
func SyncTree(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("flush tree: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		switch {
		case e.IsDir():
			err = SyncTree(path)
		case e.Type().IsRegular():
			err = SyncFile(path)
		}
		if err != nil {
			return err
		}
	}
	return SyncDir(root)
}

// Rename moves oldPath to newPath on the same file system and flushes both parents, the new one first: were only the
// old one flushed, a power loss could leave neither name. It replaces a file at newPath as rename(2) does; use
// RenameNew where something there must not be lost.
func Rename(oldPath, newPath string) error {
	Point("rename to " + newPath)
	if err := os.Rename(oldPath, newPath); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	Point("renamed to " + newPath)
	return syncParents(oldPath, newPath)
}

func syncParents(oldPath, newPath string) error {
	if err := SyncDir(filepath.Dir(newPath)); err != nil {
		return err
	}
	if filepath.Dir(oldPath) == filepath.Dir(newPath) {
		return nil
	}
	return SyncDir(filepath.Dir(oldPath))
}

// MkdirAll makes dir and its missing parents with perm and flushes each directory that got a new entry.
func MkdirAll(dir string, perm fs.FileMode) error {
	info, err := os.Stat(dir)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("make directory %s: a file is in its place", dir)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	Point("make directory " + dir)
	if err := os.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	Point("made directory " + dir)
	return SyncDir(parent)
}
