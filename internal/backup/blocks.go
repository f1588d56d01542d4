package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"clusteretcd.io/ceo/internal/store"
)

const (
	// blockSize is how much is asked for at once: a request for each 64 KiB that the decryption wants would be most of
	// the time.
	blockSize = 4 << 20
	// blocksKept bounds the memory to 48 MiB.
	blocksKept = 12
)

// blocks reads an object by ranges, and keeps the last few of them.
type blocks struct {
	ctx  context.Context //nolint:containedctx // io.ReaderAt has none
	s    store.Store
	key  string
	size int64

	mu   sync.Mutex
	kept map[int64]*block
	tick int64
	err  error // the first failure to read
}

type block struct {
	used int64
	once sync.Once
	b    []byte
	err  error
}

func newBlocks(ctx context.Context, s store.Store, key string, size int64) *blocks {
	return &blocks{ctx: ctx, s: s, key: key, size: size, kept: map[int64]*block{}}
}

// ReadAt implements io.ReaderAt, for several callers at once.
func (r *blocks) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 {
		return 0, errors.New("negative offset")
	}
	n := 0
	for n < len(p) {
		pos := at + int64(n)
		if pos >= r.size {
			return n, io.EOF
		}
		b := r.block(pos / blockSize)
		if b.err != nil {
			return n, b.err
		}
		n += copy(p[n:], b.b[pos%blockSize:])
	}
	return n, nil
}

func (r *blocks) block(i int64) *block {
	r.mu.Lock()
	r.tick++
	b, ok := r.kept[i]
	if !ok {
		b = &block{}
		r.kept[i] = b
		r.evict(i)
	}
	b.used = r.tick
	r.mu.Unlock()
	b.once.Do(func() {
		if b.b, b.err = r.load(i); b.err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.err == nil {
				r.err = b.err
			}
		}
	})
	return b
}

// failed is why reading failed first, nil where it did not: what decrypts and decodes above may hide that.
func (r *blocks) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// evict drops the one that was used longest ago; who reads it still has it.
func (r *blocks) evict(but int64) {
	if len(r.kept) <= blocksKept {
		return
	}
	oldest := int64(-1)
	for i, b := range r.kept {
		if i != but && (oldest < 0 || b.used < r.kept[oldest].used) {
			oldest = i
		}
	}
	delete(r.kept, oldest)
}

func (r *blocks) load(i int64) ([]byte, error) {
	at := i * blockSize
	b := make([]byte, min(blockSize, r.size-at))
	body, err := r.s.Range(r.ctx, r.key, at, int64(len(b)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	if _, err := io.ReadFull(body, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %s ends within bytes %d to %d: %w", store.ErrLength, URL(r.s.URL(), r.key), at, at+int64(len(b)), io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	return b, nil
}
