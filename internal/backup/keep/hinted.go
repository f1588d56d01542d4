package keep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"clusteretcd.io/ceo/internal/store"
)

// hinted is a store that a node has no credentials for: what the machine has by itself may do, and where it does not, the
// error says what is missing and where to put it.
type hinted struct {
	store.Store
	hint string
}

func (h *hinted) say(err error) error {
	for _, other := range []error{store.ErrNotFound, store.ErrLength, store.ErrFull, context.Canceled} {
		if err == nil || errors.Is(err, other) {
			return err
		}
	}
	return fmt.Errorf("%w; %s", err, h.hint)
}

func (h *hinted) Create(ctx context.Context, key string) (store.Writer, error) {
	w, err := h.Store.Create(ctx, key)
	if err != nil {
		return nil, h.say(err)
	}
	return &hintedWriter{w, h}, nil
}

func (h *hinted) Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := h.Store.Range(ctx, key, offset, length)
	return r, h.say(err)
}

func (h *hinted) Stat(ctx context.Context, key string) (store.Object, error) {
	o, err := h.Store.Stat(ctx, key)
	return o, h.say(err)
}

func (h *hinted) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for o, err := range h.Store.List(ctx, prefix) {
			if !yield(o, h.say(err)) {
				return
			}
		}
	}
}

type hintedWriter struct {
	store.Writer
	h *hinted
}

func (w *hintedWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	return n, w.h.say(err)
}

func (w *hintedWriter) Commit() error { return w.h.say(w.Writer.Commit()) }
