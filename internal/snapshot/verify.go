package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// VerifyOptions relax the check; there is nothing in them that should be on by default.
type VerifyOptions struct {
	// SkipHash accepts a file that has no hash: a database copied by hand. A hash that is there is still compared.
	SkipHash bool
}

// Verify reads the whole file once, through a Checker.
func Verify(ctx context.Context, path string, o VerifyOptions) (Info, error) {
	info, err := verify(ctx, path, o)
	if err != nil {
		return info, fmt.Errorf("snapshot %s: %w", path, err)
	}
	return info, nil
}

// Inspect reads a few pages and proves nothing: what Info says may be of a file that Verify refuses.
func Inspect(path string) (info Info, err error) {
	defer recovered(&err)
	f, err := open(path)
	if err != nil {
		return info, fmt.Errorf("snapshot %s: %w", path, err)
	}
	defer f.close()
	info = f.info()
	file, facts, err := f.facts()
	if err != nil {
		return info, fmt.Errorf("snapshot %s: %w", path, err)
	}
	_ = file
	info.fill(facts)
	return info, nil
}

// recovered is the last resort: nothing here is known to panic, and a recovery must not end by a bad file.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: reading it failed: %v", ErrCorrupt, r)
	}
}

// file is an opened snapshot whose length makes sense.
type file struct {
	path        string
	f           *os.File
	size        int64 // of the file
	dbSize      int64 // without the hash
	hashPresent bool
}

func (f *file) close() { _ = f.f.Close() }

func (f *file) info() Info { return Info{Path: f.path, Size: f.size, HashPresent: f.hashPresent} }

// openRegular opens what the user names, with its length in bytes.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.Open(path) //nolint:gosec // the snapshot that the user names
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", ErrNotSnapshot)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func open(path string) (*file, error) {
	osf, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	f, err := classify(path, osf, size)
	if err != nil {
		_ = osf.Close()
		return nil, err
	}
	return f, nil
}

// classify looks at the length and the header.
func classify(path string, osf *os.File, size int64) (*file, error) {
	f := &file{path: path, f: osf, size: size, dbSize: size}
	if f.size == 0 {
		return nil, fmt.Errorf("%w: the file is empty", ErrTruncated)
	}
	// etcd's own rule: pages are multiples of 512 bytes, so these 32 bytes can only be the hash.
	if f.size%512 == sha256.Size {
		f.hashPresent, f.dbSize = true, f.size-sha256.Size
	}
	file, err := backend.Open(osf, f.dbSize)
	switch {
	case errors.Is(err, backend.ErrNotBackend):
		var head [4]byte
		if _, readErr := osf.ReadAt(head[:], 0); readErr != nil && !errors.Is(readErr, io.EOF) {
			return nil, readErr
		}
		return nil, notSnapshot(head, err)
	case err != nil && f.hashPresent:
		// The header is damaged; the hash will say so of the whole file.
		return f, nil
	case err != nil:
		return nil, wrapped(err)
	}
	if err := file.CheckExtent(); errors.Is(err, backend.ErrShort) {
		return nil, fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	if f.dbSize%file.PageSize() != 0 {
		return nil, fmt.Errorf("%w: %d bytes are neither whole pages nor pages and a hash", ErrTruncated, f.size)
	}
	return f, nil
}

// notSnapshot names the usual reason for a file that is none by its first bytes.
func notSnapshot(head [4]byte, err error) error {
	switch {
	case head[0] == 0x1f && head[1] == 0x8b:
		return fmt.Errorf("%w: it is compressed (gzip); unpack it first", ErrNotSnapshot)
	case head == [4]byte{0x28, 0xb5, 0x2f, 0xfd}:
		return fmt.Errorf("%w: it is compressed (zstd); unpack it first", ErrNotSnapshot)
	}
	return fmt.Errorf("%w: %w", ErrNotSnapshot, err)
}

// wrapped gives an error of package backend this package's name.
func wrapped(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backend.ErrShort):
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	case errors.Is(err, backend.ErrNotBackend):
		return fmt.Errorf("%w: %w", ErrNotSnapshot, err)
	case errors.Is(err, backend.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	default:
		return err
	}
}

// copyContext copies until the end, looking at ctx between chunks.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, backend.BlockSize)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
