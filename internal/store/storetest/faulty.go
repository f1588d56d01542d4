// Package storetest holds what is common to the tests of stores and of those who use them: the suite that every store
// passes, and a store that breaks its promises.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"

	"clusteretcd.io/ceo/internal/store"
)

// ErrInjected is what a fault without an error of its own fails with.
var ErrInjected = errors.New("injected failure")

// Fault is what goes wrong with the objects that it names. The zero value of each field injects nothing; offsets that
// are counted from a Fault's field are bytes of the object, not of the range that is read.
type Fault struct {
	// Keys says which objects are concerned: those whose key ends with it. Empty: all.
	Keys string

	// Missing: Stat and Range fail with store.ErrNotFound, List leaves the object out.
	Missing bool
	// FailRead makes reading fail with Err once the byte at FailReadAt was reached; 0 fails before the first byte.
	FailRead   bool
	FailReadAt int64
	// FailWrite makes writing fail with Err once FailWriteAt bytes were written; the commit after it fails too.
	FailWrite   bool
	FailWriteAt int64
	// FailCommit makes Commit fail with Err and leaves nothing under the key.
	FailCommit bool
	// FailList makes List fail with Err after FailListAt objects.
	FailList   bool
	FailListAt int
	// FailDelete makes Delete fail with Err, and the object stays.
	FailDelete bool

	// ShortReads gives one byte for each Read.
	ShortReads bool
	// StallRead and StallWrite wait until the context ends once the byte at the offset was reached, then fail with the
	// context's error. A store of this package's contract would fail with store.ErrStalled by itself: set FailRead and
	// Err for that.
	StallRead    bool
	StallReadAt  int64
	StallWrite   bool
	StallWriteAt int64

	// SizeLie is added to the size that Stat and List say; the bytes are as they were.
	SizeLie int64
	// Truncate ends each read that would pass this many bytes of the object with a plain io.EOF, as a store does that
	// does not check lengths. Negative: cut that many bytes off a read of the whole.
	Truncate int64
	// Extra bytes follow the end of each read.
	Extra int
	// Flip inverts the bits of FlipMask (0 means 0xff) in the byte at FlipAt, when reading.
	Flip     bool
	FlipAt   int64
	FlipMask byte

	// Err is what the Fail fields fail with; nil means ErrInjected.
	Err error
}

func (f Fault) err(op, key string) error {
	err := f.Err
	if err == nil {
		err = ErrInjected
	}
	return fmt.Errorf("%s %q: %w", op, key, err)
}

// Faulty is a Store over another one that injects faults, those that are set at the moment of each call. It is safe for
// concurrent use, as every Store.
type Faulty struct {
	store.Store

	mu     sync.Mutex
	faults []Fault
	calls  []string
}

// NewFaulty wraps s. Without faults it does as s does.
func NewFaulty(s store.Store, faults ...Fault) *Faulty { return &Faulty{Store: s, faults: faults} }

// Set replaces the faults; of several that concern one key, the first counts. Readers and writers that are open already
// keep theirs.
func (f *Faulty) Set(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// Calls lists what was called so far: "create key", "commit key", "abort key", "range key offset length", "stat key",
// "list prefix", "delete key".
func (f *Faulty) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// note records a call and gives the fault for its key.
func (f *Faulty) note(key, format string, args ...any) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.fault(key)
}

// fault is called with mu held.
func (f *Faulty) fault(key string) Fault {
	for _, x := range f.faults {
		if strings.HasSuffix(key, x.Keys) {
			return x
		}
	}
	return Fault{}
}

// Stat implements store.Store.
func (f *Faulty) Stat(ctx context.Context, key string) (store.Object, error) {
	x := f.note(key, "stat %s", key)
	if x.Missing {
		return store.Object{}, fmt.Errorf("look up %q: %w", key, store.ErrNotFound)
	}
	o, err := f.Store.Stat(ctx, key)
	if err == nil {
		o.Size += x.SizeLie
	}
	return o, err
}

// List implements store.Store.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	x := f.note(prefix, "list %s", prefix)
	return func(yield func(store.Object, error) bool) {
		n := 0
		for o, err := range f.Store.List(ctx, prefix) {
			if x.FailList && n >= x.FailListAt {
				yield(store.Object{}, x.err("list", prefix))
				return
			}
			f.mu.Lock()
			of := f.fault(o.Key)
			f.mu.Unlock()
			if err == nil {
				if of.Missing {
					continue
				}
				o.Size += of.SizeLie
			}
			n++
			if !yield(o, err) {
				return
			}
		}
		if x.FailList && n >= x.FailListAt {
			yield(store.Object{}, x.err("list", prefix))
		}
	}
}

// Delete implements store.Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	if x := f.note(key, "delete %s", key); x.FailDelete {
		return x.err("delete", key)
	}
	return f.Store.Delete(ctx, key)
}

// Range implements store.Store.
func (f *Faulty) Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	x := f.note(key, "range %s %d %d", key, offset, length)
	if x.Missing {
		return nil, fmt.Errorf("read %q: %w", key, store.ErrNotFound)
	}
	r, err := f.Store.Range(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	end := int64(-1)
	if x.Truncate != 0 {
		end = x.Truncate
		if end < 0 {
			o, err := f.Store.Stat(ctx, key)
			if err != nil {
				_ = r.Close()
				return nil, err
			}
			end = max(0, o.Size+x.Truncate)
		}
	}
	return &faultyReader{ctx: ctx, r: r, key: key, fault: x, at: offset, end: end, extra: x.Extra}, nil
}

// Create implements store.Store.
func (f *Faulty) Create(ctx context.Context, key string) (store.Writer, error) {
	x := f.note(key, "create %s", key)
	w, err := f.Store.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{ctx: ctx, in: f, w: w, key: key, fault: x}, nil
}
