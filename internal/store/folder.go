package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"clusteretcd.io/ceo/internal/durable"
)

const (
	folderMode = 0o700
	fileMode   = 0o600
)

// folder is a store in a folder of this machine. gocloud.dev's own has no fsync and writes into the system's temporary
// folder, so it keeps neither I21 nor "no copy elsewhere".
type folder struct {
	root string
	url  string
	// sweep clears once what killed writers left (P27).
	sweep sync.Once
}

func newFolder(root string) *folder {
	return &folder{root: root, url: place{scheme: "file", path: root}.String()}
}

func (f *folder) URL() string  { return f.url }
func (f *folder) Local() bool  { return true }
func (f *folder) Close() error { return nil }

func (f *folder) fail(op, key string, kind, cause error) error {
	return secrets(nil).fail(op, key, f.url, kind, cause)
}

// path of a key's file. No valid key leads out of the root, except over a symbolic link that the machine's owner put
// there.
func (f *folder) path(key string) (string, error) {
	if err := ValidKey(key); err != nil {
		return "", err
	}
	return filepath.Join(f.root, filepath.FromSlash(key)), nil
}

func (f *folder) Stat(ctx context.Context, key string) (Object, error) {
	path, err := f.path(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Object{}, f.fail("look up", key, nil, err)
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file: %w", path, ErrNotFound)
	}
	if err != nil {
		return Object{}, f.fail("look up", key, missing(err), err)
	}
	return Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// missing maps what the kernel says where a key's parent is a file: then there is nothing under the key.
func missing(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return ErrNotFound
	}
	return nil
}

func (f *folder) Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	path, err := f.path(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, f.fail("read", key, nil, err)
	}
	file, want, err := openRange(path, offset, length)
	if err != nil {
		return nil, f.fail("read", key, missing(err), err)
	}
	return newExact(&untilDone{ctx: ctx, ReadCloser: file}, want, func(kind, cause error) error {
		return f.fail("read", key, kind, cause)
	}), nil
}

func openRange(path string, offset, length int64) (_ io.ReadCloser, want int64, err error) {
	// Without blocking: a named pipe that somebody put there would hang the open.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // a checked key below the root
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a file: %w", path, ErrNotFound)
	}
	if want, err = span(info.Size(), offset, length); err != nil {
		return nil, 0, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, err
	}
	if offset+want < info.Size() {
		// Inside the file, what follows the range is not "more than announced"; at its end, what follows was written
		// meanwhile.
		return limited{io.LimitReader(file, want), file}, want, nil
	}
	return file, want, nil
}

type limited struct {
	io.Reader
	io.Closer
}

// untilDone ends the reads when the context does.
type untilDone struct {
	ctx context.Context //nolint:containedctx // the reader lives as long as the operation
	io.ReadCloser
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.ReadCloser.Read(p)
}

func (f *folder) Delete(ctx context.Context, key string) error {
	path, err := f.path(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return f.fail("delete", key, nil, err)
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil
	}
	err = os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && missing(err) == nil {
		return f.fail("delete", key, nil, err)
	}
	if err == nil {
		// A writer that comes between may have taken the empty folder's place; the flush is then its own.
		if err := durable.SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f.fail("delete", key, nil, err)
		}
	}
	f.prune(filepath.Dir(path))
	return nil
}

// prune removes dir and its parents below the root as far as they are empty. That they are gone need not survive a
// power loss: an empty folder holds no object.
func (f *folder) prune(dir string) {
	for dir != f.root && len(dir) > len(f.root) {
		removeDead(dir)
		if os.Remove(dir) != nil {
			return
		}
		dir = filepath.Dir(dir)
	}
}
