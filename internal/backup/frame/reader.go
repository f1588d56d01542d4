package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

func newDecoder() (*zstd.Decoder, error) {
	// One call at a time each: the caller decides how many there are.
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*Size), zstd.WithDecoderMaxWindow(Size), zstd.IgnoreChecksum(true))
}

// room is b with n bytes, another one where b has not so many: what a header says is bounded by Size.
func room(b []byte, n uint32) []byte {
	if cap(b) < int(n) {
		return make([]byte, n)
	}
	return b[:n]
}

// plainOf decodes a frame's payload into buf, whose capacity is at least what the header says it has.
func plainOf(d *zstd.Decoder, h header, payload, buf []byte) ([]byte, error) {
	out := payload
	if h.codec == codecZstd {
		var err error
		if out, err = d.DecodeAll(payload, buf[:0]); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	if len(out) != int(h.plain) || sumOf(out, payload) != h.sum {
		return nil, fmt.Errorf("%w: the content of a frame is not what its checksum says", ErrCorrupt)
	}
	return out, nil
}

// Reader reads frames in their order, index and footer included, and knows whether it got all of them.
type Reader struct {
	r       io.Reader
	d       *zstd.Decoder
	payload []byte
	buf     []byte
	left    []byte
	at      uint64
	plain   uint64
	index   []entry
	err     error
}

// NewReader reads plain bytes from the frames in r. Nothing may follow the footer.
func NewReader(r io.Reader) (*Reader, error) {
	d, err := newDecoder()
	if err != nil {
		return nil, err
	}
	return &Reader{r: r, d: d}, nil
}

// Close frees the decoder.
func (r *Reader) Close() { r.d.Close() }

func (r *Reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.err == nil {
			r.err = r.next()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// next reads one frame; io.EOF after the footer.
func (r *Reader) next() error {
	var b [headerSize]byte
	if err := r.full(b[:]); err != nil {
		return err
	}
	h, err := decodeHeader(b[:])
	if err != nil {
		return r.here(err)
	}
	if h.offset != r.plain {
		return r.here(fmt.Errorf("%w: the frame of byte %d stands where that of byte %d should", ErrCorrupt, h.offset, r.plain))
	}
	if h.kind == kindIndex {
		return r.end(h)
	}
	if len(r.index) >= maxFrames || len(r.index) > 0 && r.index[len(r.index)-1].plain != Size {
		return r.here(fmt.Errorf("%w: a frame after the last one", ErrCorrupt))
	}
	r.payload, r.buf = room(r.payload, h.stored), room(r.buf, h.plain)
	payload := r.payload
	if err := r.full(payload); err != nil {
		return err
	}
	if r.left, err = plainOf(r.d, h, payload, r.buf); err != nil {
		return r.here(err)
	}
	r.index = append(r.index, entry{r.at, h.plain, h.stored})
	r.at += headerSize + uint64(h.stored)
	r.plain += uint64(h.plain)
	return nil
}

func (r *Reader) end(h header) error {
	want := encodeIndex(r.index)
	if int(h.plain) != len(want) {
		return r.here(fmt.Errorf("%w: the index is of other frames", ErrCorrupt))
	}
	got := make([]byte, len(want))
	if err := r.full(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) || h.sum != sumOf(got, got) {
		return r.here(fmt.Errorf("%w: the index is of other frames", ErrCorrupt))
	}
	var b [footerSize]byte
	if err := r.full(b[:]); err != nil {
		return err
	}
	f, err := decodeFooter(b[:])
	if err != nil {
		return r.here(err)
	}
	if _, err := decodeIndex(got, f); err != nil {
		return r.here(err)
	}
	switch n, err := io.ReadFull(r.r, b[:1]); {
	case n > 0:
		return r.here(fmt.Errorf("%w: something follows its end", ErrCorrupt))
	case !errors.Is(err, io.EOF):
		return err
	}
	return io.EOF
}

func (r *Reader) full(b []byte) error {
	_, err := io.ReadFull(r.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.here(ErrTruncated)
	}
	return err
}

func (r *Reader) here(err error) error {
	return fmt.Errorf("frame %d, at byte %d: %w", len(r.index), r.at, err)
}
