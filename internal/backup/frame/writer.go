package frame

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Level of compression.
type Level string

// The levels. Fastest is the default: a backup is made often, read back at once, and thinned out.
const (
	Off     Level = "off"
	Fastest Level = "fastest"
	Default Level = "default"
	Better  Level = "better"
)

func (l Level) encoder(workers int) (*zstd.Encoder, error) {
	var z zstd.EncoderLevel
	switch l {
	case Off:
		return nil, nil //nolint:nilnil // nothing compresses
	case Fastest, "":
		z = zstd.SpeedFastest
	case Default:
		z = zstd.SpeedDefault
	case Better:
		z = zstd.SpeedBetterCompression
	default:
		return nil, fmt.Errorf("compression %q is not known: off, fastest, default or better", l)
	}
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(z), zstd.WithEncoderConcurrency(workers), zstd.WithWindowSize(Size),
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
}

// Check says whether a level is one.
func (l Level) Check() error {
	e, err := l.encoder(1)
	if e != nil {
		_ = e.Close()
	}
	return err
}

// maxWorkers bounds the memory on a machine with many cores: three compress faster than etcd sends.
const maxWorkers = 3

// Writer compresses on several cores and keeps the order. workers+2 frames are in memory at most, and their compressed
// forms.
type Writer struct {
	w       io.Writer
	enc     *zstd.Encoder
	cur     []byte
	queue   chan *job
	pending sync.WaitGroup // of the goroutine that writes
	slots   chan struct{}
	plains  buffers
	storeds buffers

	mu     sync.Mutex
	err    error
	closed bool

	// Of the writing goroutine until it has ended.
	at, plain uint64
	index     []entry
}

// buffers are a fixed number, made when first needed and used again: garbage of 4 MiB each would double the memory.
type buffers struct {
	free chan []byte
	size int
}

func newBuffers(n, size int) buffers {
	b := buffers{make(chan []byte, n), size}
	for range n {
		b.free <- nil
	}
	return b
}

// take waits for a free one.
func (b buffers) take() []byte {
	buf := <-b.free
	if buf == nil {
		buf = make([]byte, 0, b.size)
	}
	return buf[:0]
}

func (b buffers) give(buf []byte) { b.free <- buf }

type job struct {
	plain, stored []byte
	spare         []byte // stored's, or what was not good for it
	codec         byte
	sum           uint32
	done          chan struct{}
}

// NewWriter writes frames to w. workers 0 means one for each core, up to three.
func NewWriter(w io.Writer, l Level, workers int) (*Writer, error) {
	if workers <= 0 {
		workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	enc, err := l.encoder(workers)
	if err != nil {
		return nil, err
	}
	fw := &Writer{
		w: w, enc: enc, queue: make(chan *job, workers+1), slots: make(chan struct{}, workers), plains: newBuffers(workers+2, Size),
		// What does not compress becomes a little longer. One for each frame that is under way: with fewer, later ones
		// could hold them all while the one that is to be written next waits.
		storeds: newBuffers(workers+2, Size+Size/64),
	}
	fw.pending.Go(fw.writeAll)
	return fw, nil
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// Write takes plain bytes.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if err := w.failed(); err != nil {
			return n - len(p), err
		}
		if w.cur == nil {
			w.cur = w.plains.take()
		}
		k := min(Size-len(w.cur), len(p))
		w.cur = append(w.cur, p[:k]...)
		p = p[k:]
		if len(w.cur) == Size {
			w.submit()
		}
	}
	return n, nil
}

func (w *Writer) submit() {
	j := &job{plain: w.cur, done: make(chan struct{})}
	w.cur = nil
	w.slots <- struct{}{}
	go func() {
		defer func() { <-w.slots; close(j.done) }()
		j.stored, j.codec = j.plain, codecRaw
		if w.enc != nil {
			j.spare = w.enc.EncodeAll(j.plain, w.storeds.take())
			if len(j.spare) < len(j.plain) {
				j.stored, j.codec = j.spare, codecZstd
			} else {
				// Nobody reads it: the next frame may have it at once.
				w.storeds.give(j.spare)
				j.spare = nil
			}
		}
		j.sum = sumOf(j.plain, j.stored)
	}()
	w.queue <- j
}

// writeAll ends when the queue is closed. After a failure it goes on taking, so that nobody waits for it.
func (w *Writer) writeAll() {
	for j := range w.queue {
		<-j.done
		if w.failed() == nil {
			if err := w.writeFrame(j); err != nil {
				w.fail(err)
			}
		}
		if j.spare != nil {
			w.storeds.give(j.spare)
		}
		w.plains.give(j.plain)
	}
}

func (w *Writer) writeFrame(j *job) error {
	if len(w.index) >= maxFrames {
		return errors.New("the database is larger than a backup can hold (4 TiB)")
	}
	h := header{kind: kindData, codec: j.codec, plain: uint32(len(j.plain)), stored: uint32(len(j.stored)), offset: w.plain, sum: j.sum} //nolint:gosec // at most Size
	if err := w.put(h, j.stored); err != nil {
		return err
	}
	w.index = append(w.index, entry{w.at, h.plain, h.stored})
	w.at += headerSize + uint64(h.stored)
	w.plain += uint64(h.plain)
	return nil
}

func (w *Writer) put(h header, payload []byte) error {
	var b [headerSize]byte
	h.encode(b[:])
	if _, err := w.w.Write(b[:]); err != nil {
		return err
	}
	_, err := w.w.Write(payload)
	return err
}

// Close writes what is left, the index and the footer. It does not close what is below.
func (w *Writer) Close() error { return w.end(true) }

// Abort ends the goroutines and writes nothing more; after Close it does nothing.
func (w *Writer) Abort() { _ = w.end(false) }

func (w *Writer) end(whole bool) error {
	if w.closed {
		return w.failed()
	}
	w.closed = true
	if !whole {
		w.fail(errors.New("the writing of frames was given up"))
	} else if len(w.cur) > 0 {
		w.submit()
	}
	close(w.queue)
	w.pending.Wait()
	if w.enc != nil {
		_ = w.enc.Close()
	}
	if err := w.failed(); err != nil {
		return err
	}
	b := encodeIndex(w.index)
	h := header{kind: kindIndex, codec: codecRaw, plain: uint32(len(b)), stored: uint32(len(b)), offset: w.plain, sum: sumOf(b, b)} //nolint:gosec // bounded by maxFrames
	err := w.put(h, b)
	if err == nil {
		_, err = w.w.Write(footer{uint32(len(w.index)), w.plain, w.at, h.plain}.encode()) //nolint:gosec // bounded by maxFrames
	}
	if err != nil {
		w.fail(err)
	}
	return err
}
