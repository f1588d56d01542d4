package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// What is under way between the source and its sinks at any time: 16 MiB, whatever the size of the database. A chunk is
// large enough that handing it over costs nothing beside hashing it.
const (
	chunkSize = 1 << 20
	chunks    = 16
)

type chunk struct {
	buf  [chunkSize]byte
	n    int
	left atomic.Int32 // sinks that have not used it yet
}

// pipe reads r to its end and gives each byte, in order, to every sink: reading, hashing and writing overlap, each on
// a goroutine of its own. It returns when all have finished: with the number of bytes, or with the error that came
// first. ended is called when the source gave its last byte.
func pipe(ctx context.Context, r io.Reader, ended func(), sinks ...func([]byte) error) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	free := make(chan *chunk, chunks)
	for range chunks {
		free <- nil // made when first needed: most databases are smaller than the pool
	}
	var wg sync.WaitGroup
	queues := make([]chan *chunk, len(sinks))
	for i, sink := range sinks {
		queues[i] = make(chan *chunk, chunks)
		wg.Go(func() { drain(queues[i], free, sink, cancel) })
	}
	n, err := feed(ctx, r, free, queues)
	if err != nil {
		cancel(err)
	}
	ended()
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
	// What ended it first is the news; that the reader was then interrupted is not.
	if ctx.Err() != nil {
		return n, context.Cause(ctx)
	}
	return n, err
}

func feed(ctx context.Context, r io.Reader, free chan *chunk, queues []chan *chunk) (total int64, err error) {
	for {
		var c *chunk
		select {
		case c = <-free:
		case <-ctx.Done():
			return total, context.Cause(ctx)
		}
		// Both may have been ready.
		if ctx.Err() != nil {
			return total, context.Cause(ctx)
		}
		if c == nil {
			c = new(chunk)
		}
		c.n, err = fill(r, c.buf[:])
		total += int64(c.n)
		if c.n > 0 {
			c.left.Store(int32(len(queues))) //nolint:gosec // two
			for _, q := range queues {
				q <- c // never blocks: a queue has room for all chunks there are
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("read, after %d bytes: %w", total, err)
		}
	}
}

// fill reads until b is full or the source ends. Not io.ReadFull: a connection that breaks says ErrUnexpectedEOF, and
// so would ReadFull of every source whose end is not at a full chunk.
func fill(r io.Reader, b []byte) (n int, err error) {
	const patience = 100
	empty := 0
	for n < len(b) && err == nil {
		var got int
		got, err = r.Read(b[n:])
		if n += got; got > 0 {
			empty = 0
		} else if empty++; err == nil && empty == patience {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// drain goes on taking chunks after its sink has failed, so that nobody waits for it.
func drain(q <-chan *chunk, free chan<- *chunk, sink func([]byte) error, fail context.CancelCauseFunc) {
	var failed bool
	for c := range q {
		if !failed {
			if err := sink(c.buf[:c.n]); err != nil {
				failed = true
				fail(err)
			}
		}
		if c.left.Add(-1) == 0 {
			free <- c
		}
	}
}
