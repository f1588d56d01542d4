package store

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// memory is a store in this process, for tests. All that open one name have the same objects.
type memory struct {
	name string
	data *contents
}

type contents struct {
	mu      sync.Mutex
	objects map[string]memoryObject
}

type memoryObject struct {
	data []byte // never written to once it is here
	at   time.Time
}

var (
	memoriesMu sync.Mutex
	memories   = map[string]*contents{}
)

func newMemory(name string) *memory {
	memoriesMu.Lock()
	defer memoriesMu.Unlock()
	if memories[name] == nil {
		memories[name] = &contents{objects: map[string]memoryObject{}}
	}
	return &memory{name: name, data: memories[name]}
}

func (m *memory) URL() string  { return "mem://" + m.name }
func (m *memory) Local() bool  { return false }
func (m *memory) Close() error { return nil }

func (m *memory) fail(op, key string, kind, cause error) error {
	return secrets(nil).fail(op, key, m.URL(), kind, cause)
}

// get is what Stat and Range begin with.
func (m *memory) get(ctx context.Context, key string) (memoryObject, error) {
	if err := ValidKey(key); err != nil {
		return memoryObject{}, err
	}
	if err := ctx.Err(); err != nil {
		return memoryObject{}, err
	}
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	o, ok := m.data.objects[key]
	if !ok {
		return memoryObject{}, ErrNotFound
	}
	return o, nil
}

func (m *memory) Stat(ctx context.Context, key string) (Object, error) {
	o, err := m.get(ctx, key)
	if err != nil {
		return Object{}, m.fail("look up", key, nil, err)
	}
	return Object{Key: key, Size: int64(len(o.data)), ModTime: o.at}, nil
}

func (m *memory) Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	o, err := m.get(ctx, key)
	var want int64
	if err == nil {
		want, err = span(int64(len(o.data)), offset, length)
	}
	if err != nil {
		return nil, m.fail("read", key, nil, err)
	}
	r := &untilDone{ctx: ctx, ReadCloser: io.NopCloser(bytes.NewReader(o.data[offset : offset+want]))}
	return newExact(r, want, func(kind, cause error) error { return m.fail("read", key, kind, cause) }), nil
}

func (m *memory) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		m.data.mu.Lock()
		now := maps.Clone(m.data.objects)
		m.data.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(now)) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(Object{}, m.fail("list", prefix, nil, err))
				return
			}
			if !yield(Object{Key: key, Size: int64(len(now[key].data)), ModTime: now[key].at}, nil) {
				return
			}
		}
	}
}

func (m *memory) Delete(ctx context.Context, key string) error {
	err := ValidKey(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return m.fail("delete", key, nil, err)
	}
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	delete(m.data.objects, key)
	return nil
}

func (m *memory) Create(ctx context.Context, key string) (Writer, error) {
	err := ValidKey(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, m.fail("create", key, nil, err)
	}
	return &memoryWriter{ctx: ctx, in: m, key: key}, nil
}

type memoryWriter struct {
	ctx  context.Context //nolint:containedctx // a writer lives as long as the operation that made it
	in   *memory
	key  string
	buf  bytes.Buffer
	done bool
}

func (w *memoryWriter) check() error {
	err := w.ctx.Err()
	if w.done {
		err = fs.ErrClosed
	}
	if err != nil {
		return w.in.fail("write", w.key, nil, err)
	}
	return nil
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	if err := w.check(); err != nil {
		return 0, err
	}
	return w.buf.Write(p)
}

func (w *memoryWriter) Commit() error {
	err := w.check()
	w.done = true
	if err != nil {
		return err
	}
	w.in.data.mu.Lock()
	defer w.in.data.mu.Unlock()
	w.in.data.objects[w.key] = memoryObject{data: w.buf.Bytes(), at: time.Now()}
	return nil
}

func (w *memoryWriter) Abort() error {
	w.done = true
	return nil
}
