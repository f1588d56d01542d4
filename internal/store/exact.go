package store

import (
	"errors"
	"fmt"
	"io"
)

// exact reads want bytes, neither fewer nor more.
type exact struct {
	r    io.ReadCloser
	want int64 // bytes still to come
	all  int64
	fail func(kind, cause error) error
	err  error
}

func newExact(r io.ReadCloser, want int64, fail func(kind, cause error) error) *exact {
	return &exact{r: r, want: want, all: want, fail: fail}
}

func (e *exact) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := 0
	if e.want > 0 {
		if int64(len(p)) > e.want {
			p = p[:e.want]
		}
		var err error
		n, err = e.r.Read(p)
		e.want -= int64(n)
		switch {
		case err != nil && e.want > 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
			// The cause may say more than that it ended: "connection reset" does.
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			e.err = e.fail(ErrLength, fmt.Errorf("it ended after %d of %d bytes: %w", e.all-e.want, e.all, err))
			return n, e.err
		case err != nil && !errors.Is(err, io.EOF):
			e.err = e.fail(nil, fmt.Errorf("after %d of %d bytes: %w", e.all-e.want, e.all, err))
			return n, e.err
		case e.want > 0:
			return n, nil
		}
	}
	// Before the last bytes are handed out: whoever reads a known number of bytes never asks for the end.
	if err := e.atEnd(); err != nil {
		e.err = err
		return 0, e.err
	}
	e.err = io.EOF
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// atEnd makes sure that nothing follows.
func (e *exact) atEnd() error {
	var more [1]byte
	for range 100 {
		n, err := e.r.Read(more[:])
		switch {
		case n > 0:
			return e.fail(ErrLength, fmt.Errorf("more than the announced %d bytes came", e.all))
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return e.fail(nil, fmt.Errorf("at the end of %d bytes: %w", e.all, err))
		}
	}
	return e.fail(nil, io.ErrNoProgress)
}

func (e *exact) Close() error { return e.r.Close() }

// span says how many bytes a range of an object of size bytes has; an error where the object does not reach that far.
func span(size, offset, length int64) (int64, error) {
	switch {
	case offset < 0:
		return 0, fmt.Errorf("the offset %d is negative", offset)
	case offset > size:
		return 0, fmt.Errorf("%w: bytes from %d on were asked for, the object has %d", ErrLength, offset, size)
	case length < 0:
		return size - offset, nil
	case length > size-offset:
		return 0, fmt.Errorf("%w: %d bytes from %d on were asked for, the object has %d", ErrLength, length, offset, size)
	}
	return length, nil
}
