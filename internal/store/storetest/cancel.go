package storetest

import (
	"context"
	"errors"
	"io"
	"testing"

	"clusteretcd.io/ceo/internal/store"
)

func cancelledWrite(t *testing.T, s store.Store) {
	for _, n := range []int{10, 20 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		w, err := s.Create(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := w.Commit(); !errors.Is(err, context.Canceled) {
			t.Fatalf("Commit after the cancel: %v", err)
		}
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
		absent(t, s, "a")
	}
}

func cancelledRead(t *testing.T, s store.Store) {
	put(t, s, "a", Bytes(9<<20, 1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := s.Range(ctx, "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Fatalf("a read after the cancel: %v", err)
	}
}

func cancelledBefore(t *testing.T, s store.Store) {
	put(t, s, "a", []byte("1"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w, err := s.Create(ctx, "b")
	if err == nil {
		// A store may notice late, but not commit.
		err = w.Commit()
		_ = w.Abort()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("write: %v", err)
	}
	if _, err := Get(ctx, s, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Range: %v", err)
	}
	if _, err := s.Stat(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Stat: %v", err)
	}
	if _, err := Keys(ctx, s, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v", err)
	}
	if err := s.Delete(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete: %v", err)
	}
	holds(t, s, "a", []byte("1"))
	absent(t, s, "b")
}
