package frame

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Parallel reads frames by ranges, several at a time, and gives their plain bytes in order. Twice its workers' frames
// are in memory at most.
type Parallel struct {
	cancel context.CancelFunc
	queue  chan *fetched
	wg     sync.WaitGroup
	left   []byte
	err    error
	plain  uint64
	given  uint64
	cause  func() error
}

type fetched struct {
	ready chan struct{}
	plain []byte
	err   error
}

// Plain is how many bytes there are in all.
func (p *Parallel) Plain() int64 { return int64(p.plain) } //nolint:gosec // bounded by maxFrames

// NewParallel reads the index of the frames in ra, which has size bytes, and begins to read.
func NewParallel(ctx context.Context, ra io.ReaderAt, size int64, workers int) (*Parallel, error) {
	f, es, err := readIndex(ra, size)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Parallel{cancel: cancel, queue: make(chan *fetched, workers), plain: f.plain, cause: func() error { return context.Cause(ctx) }}
	type task struct {
		e      entry
		offset uint64
		out    *fetched
	}
	tasks := make(chan task)
	p.wg.Go(func() {
		defer close(tasks)
		defer close(p.queue)
		var offset uint64
		for _, e := range es {
			out := &fetched{ready: make(chan struct{})}
			select {
			case p.queue <- out:
			case <-ctx.Done():
				return
			}
			select {
			case tasks <- task{e, offset, out}:
			case <-ctx.Done():
				out.err = context.Cause(ctx)
				close(out.ready)
				return
			}
			offset += uint64(e.plain)
		}
	})
	for range workers {
		p.wg.Go(func() {
			d, err := newDecoder()
			if err == nil {
				defer d.Close()
			}
			var payload []byte
			for t := range tasks {
				if err == nil {
					err = ctx.Err()
				}
				if t.out.err = err; err == nil {
					payload = room(payload, headerSize+t.e.stored)
					t.out.plain, t.out.err = readFrame(ra, t.e, t.offset, payload, func(h header, b []byte) ([]byte, error) {
						out, err := plainOf(d, h, b, make([]byte, 0, h.plain))
						if err == nil && h.codec == codecRaw {
							out = append([]byte(nil), out...)
						}
						return out, err
					})
				}
				close(t.out.ready)
			}
		})
	}
	return p, nil
}

func readFrame(ra io.ReaderAt, e entry, offset uint64, buf []byte, decode func(header, []byte) ([]byte, error)) ([]byte, error) {
	buf = buf[:headerSize+int(e.stored)]
	if err := fullAt(ra, buf, int64(e.at)); err != nil { //nolint:gosec // bounded by maxFrames
		return nil, err
	}
	h, err := decodeHeader(buf[:headerSize])
	if err == nil && (h.kind != kindData || h.offset != offset || h.plain != e.plain || h.stored != e.stored) {
		err = fmt.Errorf("%w: the frame is not the one that the index names", ErrCorrupt)
	}
	var out []byte
	if err == nil {
		out, err = decode(h, buf[headerSize:])
	}
	if err != nil {
		return nil, fmt.Errorf("frame at byte %d: %w", e.at, err)
	}
	return out, nil
}

func fullAt(ra io.ReaderAt, b []byte, at int64) error {
	n, err := ra.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("at byte %d: %w", at, ErrTruncated)
	}
	return err
}

func readIndex(ra io.ReaderAt, size int64) (footer, []entry, error) {
	if size < headerSize+footerSize {
		return footer{}, nil, fmt.Errorf("%w: %d bytes", ErrTruncated, size)
	}
	b := make([]byte, footerSize)
	if err := fullAt(ra, b, size-footerSize); err != nil {
		return footer{}, nil, err
	}
	f, err := decodeFooter(b)
	if err != nil {
		return f, nil, err
	}
	if f.index+headerSize+uint64(f.indexLen)+footerSize != uint64(size) { //nolint:gosec // not negative
		return f, nil, fmt.Errorf("%w: its footer is of another length", ErrTruncated)
	}
	raw := make([]byte, headerSize+int(f.indexLen))
	if err := fullAt(ra, raw, int64(f.index)); err != nil { //nolint:gosec // below size
		return f, nil, err
	}
	h, err := decodeHeader(raw[:headerSize])
	if err != nil {
		return f, nil, fmt.Errorf("index: %w", err)
	}
	if h.kind != kindIndex || h.plain != f.indexLen || h.sum != sumOf(raw[headerSize:], raw[headerSize:]) {
		return f, nil, fmt.Errorf("%w: its index", ErrCorrupt)
	}
	es, err := decodeIndex(raw[headerSize:], f)
	return f, es, err
}

func (p *Parallel) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		f, ok := <-p.queue
		if !ok {
			// The queue ends early too where the reading was cancelled.
			if p.err = io.EOF; p.given != p.plain {
				p.err = fmt.Errorf("%w: %d of %d bytes were read: %w", ErrTruncated, p.given, p.plain, p.cause())
			}
			continue
		}
		<-f.ready
		if f.err != nil {
			p.err = f.err
			p.cancel()
			continue
		}
		p.left = f.plain
		p.given += uint64(len(f.plain))
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// Close ends the reading.
func (p *Parallel) Close() {
	p.cancel()
	for f := range p.queue {
		_ = f
	}
	p.wg.Wait()
}
