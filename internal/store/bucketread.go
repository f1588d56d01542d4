package store

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"gocloud.dev/blob"
)

func (b *bucket) Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	name, err := b.name(ctx, key)
	if err == nil && offset < 0 {
		_, err = span(0, offset, length)
	}
	if err != nil {
		return nil, b.fail(ctx, "read", key, err)
	}
	if length == 0 {
		return b.none(ctx, key, offset, length)
	}
	open, cancel := context.WithCancelCause(ctx)
	// The limit is for the opening with its retries. The reads have the transport's.
	dog := time.AfterFunc(b.limit, func() { cancel(&stallError{limit: b.limit}) })
	r, err := b.blobs.NewRangeReader(open, name, offset, length, nil)
	dog.Stop()
	if err != nil {
		defer cancel(nil)
		if status, _ := b.status(err); status == http.StatusRequestedRangeNotSatisfiable {
			return b.none(ctx, key, offset, length)
		}
		return nil, b.fail(open, "read", key, err)
	}
	want, err := span(r.Size(), offset, length)
	if err != nil {
		defer cancel(nil)
		return nil, b.fail(open, "read", key, errors.Join(err, r.Close()))
	}
	return newExact(&bucketReader{Reader: r, ctx: open, cancel: cancel, of: b, key: key}, want, func(kind, cause error) error {
		if kind == nil || open.Err() != nil {
			return b.fail(open, "read", key, cause)
		}
		return b.secrets.fail("read", key, b.URL(), kind, cause)
	}), nil
}

// none is a range that has no byte: providers refuse it, the one that begins at the object's end too. Whether it is one
// says the size.
func (b *bucket) none(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	o, err := b.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	want, err := span(o.Size, offset, length)
	if err == nil && want > 0 {
		err = errors.New("the store refuses a range that it says the object has")
	}
	if err != nil {
		return nil, b.fail(ctx, "read", key, err)
	}
	return http.NoBody, nil
}

type bucketReader struct {
	*blob.Reader
	ctx    context.Context //nolint:containedctx // the reader lives as long as the operation
	cancel context.CancelCauseFunc
	of     *bucket
	key    string
}

// Read ends with the context even where bytes are buffered.
func (r *bucketReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

func (r *bucketReader) Close() error {
	r.cancel(nil)
	if err := r.Reader.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return r.of.fail(context.Background(), "close", r.key, err)
	}
	return nil
}
