package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/durable"
)

// flushStep is how much is written before the kernel is told to begin to write it out. Without it a large object would
// lie in memory until the commit, whose fsync then holds up everything else on that disk, etcd's own fsync with it.
const flushStep = 8 << 20

// fileWriter writes an unfinished file beside its target and holds its lock until it has its name.
type fileWriter struct {
	ctx     context.Context //nolint:containedctx // a writer lives as long as the operation that made it
	in      *folder
	key     string
	target  string
	file    *os.File
	written int64
	flushed int64
	err     error // the first failure: nothing can be committed after it
	done    bool
}

func (f *folder) Create(ctx context.Context, key string) (Writer, error) {
	target, err := f.path(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, f.fail("create", key, nil, err)
	}
	f.sweep.Do(func() { removeDeadBelow(f.root) })
	var file *os.File
	// Between the making of the folder and of the file in it, a Delete may have removed the empty folder.
	for range 10 {
		if err = durable.MkdirAll(filepath.Dir(target), folderMode); err == nil {
			file, err = createUnfinished(target)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, f.fail("create", key, nil, err)
	}
	return &fileWriter{ctx: ctx, in: f, key: key, target: target, file: file}, nil
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, w.fail(fs.ErrClosed)
	}
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		return 0, w.fail(w.err)
	}
	n, err := w.file.Write(p)
	w.written += int64(n)
	if err != nil {
		w.err = err
		return n, w.fail(err)
	}
	if w.written-w.flushed >= flushStep {
		// A hint: where the file system has no such call, the fsync does it all.
		_ = unix.SyncFileRange(int(w.file.Fd()), w.flushed, w.written-w.flushed, unix.SYNC_FILE_RANGE_WRITE) //nolint:gosec // a descriptor fits an int
		w.flushed = w.written
	}
	return n, nil
}

func (w *fileWriter) Commit() error {
	if w.done {
		return w.fail(fs.ErrClosed)
	}
	err := w.err
	if err == nil {
		err = w.ctx.Err()
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err == nil {
		// The lock is held over the rename: until then the file must not be taken for a dead writer's.
		err = os.Rename(w.file.Name(), w.target)
	}
	if err != nil {
		_ = w.Abort()
		return w.fail(err)
	}
	w.done = true
	_ = w.file.Close() // the data is flushed
	if err := durable.SyncDir(filepath.Dir(w.target)); err != nil {
		return w.fail(fmt.Errorf("the file is there, but its name may not survive a power loss: %w", err))
	}
	return nil
}

func (w *fileWriter) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	err := os.Remove(w.file.Name())
	_ = w.file.Close()
	w.in.prune(filepath.Dir(w.target))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w.in.fail("abort", w.key, nil, err)
	}
	return nil
}

// fail names the path: of a full disk, one must know which.
func (w *fileWriter) fail(err error) error {
	return w.in.fail("write", w.key, nil, fmt.Errorf("%s: %w", w.target, err))
}
