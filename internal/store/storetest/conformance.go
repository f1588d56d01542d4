package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"clusteretcd.io/ceo/internal/store"
)

// Conformance is what every store passes. open gives an empty store of its own for each call, several at once; it closes
// what it opened itself.
func Conformance(t *testing.T, open func(t *testing.T) store.Store) {
	for _, row := range []struct {
		name string
		test func(t *testing.T, s store.Store)
	}{
		{"an object is as it was written", roundTrip},
		{"an object shows when it is committed, not before", notBeforeCommit},
		{"an aborted object leaves nothing", aborted},
		{"a commit replaces the object whole", overwrite},
		{"ranges", ranges},
		{"an empty object", empty},
		{"an object of several parts", large},
		{"keys are given back as they were", oddKeys},
		{"keys that no store takes", badKeys},
		{"a listing is in the order of keys", order},
		{"a listing of more than a page", pages},
		{"what is deleted is gone", deleted},
		{"what is missing says so", missing},
		{"writers of different keys at once", manyKeys},
		{"writers of one key at once", oneKey},
		{"a cancelled write leaves nothing", cancelledWrite},
		{"a cancelled read ends", cancelledRead},
		{"a cancelled context does nothing", cancelledBefore},
		{"the time of an object", modTime},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.test(t, open(t))
		})
	}
}

// Put writes an object in one go.
func Put(ctx context.Context, s store.Store, key string, data []byte) error {
	w, err := s.Create(ctx, key)
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit()
}

// Get reads an object whole.
func Get(ctx context.Context, s store.Store, key string) ([]byte, error) {
	return get(ctx, s, key, 0, -1)
}

func get(ctx context.Context, s store.Store, key string, offset, length int64) (data []byte, err error) {
	r, err := s.Range(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// Keys lists the keys under a prefix.
func Keys(ctx context.Context, s store.Store, prefix string) ([]string, error) {
	var keys []string
	for o, err := range s.List(ctx, prefix) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, o.Key)
	}
	return keys, nil
}

// Bytes gives n bytes that do not compress and are the same for the same seed.
func Bytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

func put(t *testing.T, s store.Store, key string, data []byte) {
	t.Helper()
	if err := Put(t.Context(), s, key, data); err != nil {
		t.Fatal(err)
	}
}

// holds fails unless the object is data, by reading, by Stat and in the listing.
func holds(t *testing.T, s store.Store, key string, data []byte) {
	t.Helper()
	got, err := Get(t.Context(), s, key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%q holds %d bytes that are not the %d written", key, len(got), len(data))
	}
	o, err := s.Stat(t.Context(), key)
	if err != nil || o.Key != key || o.Size != int64(len(data)) {
		t.Fatalf("Stat(%q) = %+v, %v; want %d bytes", key, o, err, len(data))
	}
	for l, err := range s.List(t.Context(), key) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Key == key && l.Size == o.Size {
			return
		}
	}
	t.Fatalf("%q is not listed with %d bytes", key, len(data))
}

// absent fails unless nothing is under the key.
func absent(t *testing.T, s store.Store, key string) {
	t.Helper()
	if o, err := s.Stat(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Stat(%q) = %+v, %v; want ErrNotFound", key, o, err)
	}
	if _, err := Get(t.Context(), s, key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Range(%q): %v; want ErrNotFound", key, err)
	}
	keys, err := Keys(t.Context(), s, "")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(keys, key) {
		t.Fatalf("%q is listed", key)
	}
}

func roundTrip(t *testing.T, s store.Store) {
	data := Bytes(100_000, 1)
	put(t, s, "20261124T1402Z-abc/etcd.db", data)
	holds(t, s, "20261124T1402Z-abc/etcd.db", data)
	r, err := s.Range(t.Context(), "20261124T1402Z-abc/etcd.db", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if err := iotest.TestReader(r, data); err != nil {
		t.Fatal(err)
	}
	if s.URL() == "" {
		t.Fatal("a store names its place")
	}
}

func notBeforeCommit(t *testing.T, s store.Store) {
	data := Bytes(5000, 1)
	w, err := s.Create(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	absent(t, s, "a/b")
	for _, part := range [][]byte{data[:1], data[1:2000], nil, data[2000:]} {
		if n, err := w.Write(part); err != nil || n != len(part) {
			t.Fatalf("wrote %d, %v", n, err)
		}
		absent(t, s, "a/b")
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "a/b", data)
	if err := w.Abort(); err != nil {
		t.Fatalf("Abort after Commit: %v", err)
	}
	holds(t, s, "a/b", data)
	if _, err := w.Write(data); err == nil {
		t.Fatal("a write after the commit is an error")
	}
	if err := w.Commit(); err == nil {
		t.Fatal("a second commit is an error")
	}
	holds(t, s, "a/b", data)
}

func aborted(t *testing.T, s store.Store) {
	for _, n := range []int{0, 10, 9 << 20} {
		w, err := s.Create(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.Abort(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(); err == nil {
			t.Fatal("a commit after the abort is an error")
		}
		absent(t, s, "a")
	}
}

func overwrite(t *testing.T, s store.Store) {
	first, second := Bytes(9000, 1), Bytes(4000, 2)
	put(t, s, "a", first)
	w, err := s.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	if _, err := w.Write(second); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "a", first)
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "a", second)
	if w, err = s.Create(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "a", second)
}

func ranges(t *testing.T, s store.Store) {
	data := Bytes(10_000, 1)
	put(t, s, "a", data)
	for _, row := range []struct{ offset, length int64 }{
		{0, -1},
		{0, 10_000},
		{0, 1},
		{0, 0},
		{1, 9_999},
		{5000, 1000},
		{5000, -1},
		{9_999, 1},
		{9_999, -1},
		{10_000, 0},
		{10_000, -1},
	} {
		got, err := get(t.Context(), s, "a", row.offset, row.length)
		end := row.offset + row.length
		if row.length < 0 {
			end = 10_000
		}
		if err != nil || !bytes.Equal(got, data[row.offset:end]) {
			t.Errorf("range %v: %d bytes, %v", row, len(got), err)
		}
	}
	for _, row := range []struct{ offset, length int64 }{
		{0, 10_001},
		{1, 10_000},
		{9_999, 2},
		{10_000, 1},
		{10_001, 0},
		{10_001, -1},
		{20_000, 10},
	} {
		if _, err := get(t.Context(), s, "a", row.offset, row.length); !errors.Is(err, store.ErrLength) {
			t.Errorf("range %v beyond the end: %v, want ErrLength", row, err)
		}
	}
	if _, err := get(t.Context(), s, "a", -1, 5); err == nil {
		t.Error("a negative offset is an error")
	}
}

func empty(t *testing.T, s store.Store) {
	for i, write := range []bool{false, true} {
		key := fmt.Sprint("empty", i)
		w, err := s.Create(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if write {
			if _, err := w.Write(nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		holds(t, s, key, nil)
		if _, err := get(t.Context(), s, key, 0, 1); !errors.Is(err, store.ErrLength) {
			t.Fatalf("a byte of an empty object: %v, want ErrLength", err)
		}
		if got, err := get(t.Context(), s, key, 0, 0); err != nil || len(got) != 0 {
			t.Fatalf("no byte of an empty object: %v, %v", got, err)
		}
	}
}

func large(t *testing.T, s store.Store) {
	// More than two parts of any store, and no multiple of one.
	data := Bytes(40<<20+12_345, 1)
	w, err := s.Create(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	if _, err := io.Copy(w, iotest.HalfReader(bytes.NewReader(data))); err != nil {
		t.Fatal(err)
	}
	absent(t, s, "large")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "large", data)
	got, err := get(t.Context(), s, "large", 16<<20-7, 17<<20)
	if err != nil || !bytes.Equal(got, data[16<<20-7:][:17<<20]) {
		t.Fatalf("a range over the parts: %d bytes, %v", len(got), err)
	}
}

func missing(t *testing.T, s store.Store) {
	absent(t, s, "no/such")
	put(t, s, "a/b", nil)
	absent(t, s, "a")
	absent(t, s, "a/b/c")
	if keys, err := Keys(t.Context(), s, "no"); err != nil || len(keys) != 0 {
		t.Fatalf("%v, %v", keys, err)
	}
}

func deleted(t *testing.T, s store.Store) {
	put(t, s, "a/b/c", []byte("1"))
	put(t, s, "a/d", []byte("2"))
	for range 2 {
		if err := s.Delete(t.Context(), "a/b/c"); err != nil {
			t.Fatal(err)
		}
	}
	absent(t, s, "a/b/c")
	if err := s.Delete(t.Context(), "never/was/there"); err != nil {
		t.Fatal(err)
	}
	// No object has this key, though others lie below it.
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "a/d", []byte("2"))
	put(t, s, "a/b/c", []byte("3"))
	holds(t, s, "a/b/c", []byte("3"))
}

func modTime(t *testing.T, s store.Store) {
	before := time.Now()
	put(t, s, "a", []byte("1"))
	o, err := s.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	// A store counts in whole seconds, and its clock is its own.
	if d := o.ModTime.Sub(before); d < -time.Minute || d > time.Minute {
		t.Fatalf("the object of now is of %v", o.ModTime)
	}
	for l, err := range s.List(t.Context(), "") {
		if err != nil || l.ModTime.Sub(o.ModTime).Abs() > time.Second {
			t.Fatalf("listed with %v, looked up with %v, %v", l.ModTime, o.ModTime, err)
		}
	}
}

func manyKeys(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for i := range uint64(8) {
		wg.Go(func() {
			if err := Put(t.Context(), s, fmt.Sprintf("k/%d/x", i), Bytes(300_000, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range uint64(8) {
		holds(t, s, fmt.Sprintf("k/%d/x", i), Bytes(300_000, i))
	}
}

// oneKey: whichever commits last, the object is one writer's, whole.
func oneKey(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	seeds := []uint64{1, 2, 3, 4, 5, 6}
	for i, seed := range seeds {
		wg.Go(func() {
			w, err := s.Create(t.Context(), "k/one")
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = w.Abort() }()
			for chunk := range slices.Chunk(Bytes(200_000+i, seed), 1000) {
				if _, err := w.Write(chunk); err != nil {
					t.Error(err)
					return
				}
			}
			// Every third gives up.
			if i%3 == 2 {
				return
			}
			if err := w.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	o, err := s.Stat(t.Context(), "k/one")
	if err != nil {
		t.Fatal(err)
	}
	i := o.Size - 200_000
	if i < 0 || i > 5 || i%3 == 2 {
		t.Fatalf("%d bytes are no writer's that committed", o.Size)
	}
	holds(t, s, "k/one", Bytes(int(o.Size), seeds[i]))
}
