package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// VerifyOptions relax the check; there is nothing in them that should be on by default.
type VerifyOptions struct {
	// SkipHash accepts a file that has no hash: a database copied by hand. A hash that is there is still compared.
	SkipHash bool
}

// Verify reads the whole file: length, hash, every page, every entry's form.
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

func verify(ctx context.Context, path string, o VerifyOptions) (info Info, err error) {
	defer recovered(&err)
	f, err := open(path)
	if err != nil {
		return Info{Path: path}, err
	}
	defer f.close()
	info = f.info()
	if !f.hashPresent && !o.SkipHash {
		return info, fmt.Errorf("%w: %s accepts it as it is", ErrNoHash, SkipHashFlag)
	}

	// Hash and structure at the same time: both read the whole file, one from the page cache.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var hash, sum string
	var hashErr error
	wg.Go(func() {
		if hash, sum, hashErr = f.hash(ctx); hashErr != nil {
			cancel()
		}
	})
	contentErr := f.content(ctx, &info)
	if contentErr != nil && !f.hashPresent {
		cancel() // no hash whose mismatch would say more
	}
	wg.Wait()
	switch {
	case errors.Is(hashErr, context.Canceled) && contentErr != nil:
		return info, contentErr
	case hashErr != nil:
		return info, hashErr
	case contentErr != nil:
		return info, contentErr
	}
	info.Hash, info.SHA256 = hash, sum
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

func open(path string) (*file, error) {
	osf, err := os.Open(path) //nolint:gosec // the snapshot that the user names
	if err != nil {
		return nil, err
	}
	f, err := classify(path, osf)
	if err != nil {
		_ = osf.Close()
		return nil, err
	}
	return f, nil
}

// classify looks at the length and the header: most bad files show there, with a clearer reason than a wrong hash.
func classify(path string, osf *os.File) (*file, error) {
	st, err := osf.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrNotSnapshot)
	}
	f := &file{path: path, f: osf, size: st.Size(), dbSize: st.Size()}
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
		return nil, notSnapshot(osf, err)
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

func notSnapshot(r io.ReaderAt, err error) error {
	var head [4]byte
	if n, readErr := r.ReadAt(head[:], 0); n < len(head) && readErr != nil && !errors.Is(readErr, io.EOF) {
		return readErr
	}
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

// hash reads the file once for two sums: of the backend, to compare with the one at the end, and of all of it.
func (f *file) hash(ctx context.Context) (hash, sum string, err error) {
	h := sha256.New()
	if err := copyContext(ctx, h, io.NewSectionReader(f.f, 0, f.dbSize)); err != nil {
		return "", "", err
	}
	content := h.Sum(nil)
	if !f.hashPresent {
		return hex.EncodeToString(content), hex.EncodeToString(content), nil
	}
	var stored [sha256.Size]byte
	if _, err := f.f.ReadAt(stored[:], f.dbSize); err != nil {
		return "", "", err
	}
	if [sha256.Size]byte(content) != stored {
		return "", "", fmt.Errorf("%w: it was changed after it was taken (content %x…, hash says %x…); use another copy",
			ErrHashMismatch, content[:6], stored[:6])
	}
	_, _ = h.Write(stored[:])
	return hex.EncodeToString(content), hex.EncodeToString(h.Sum(nil)), nil
}

// copyContext copies until the end, looking at ctx between chunks.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, 256<<10)
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
