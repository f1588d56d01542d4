package dataset

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// bytesPerKey is how large the database is for each key in it: some 4 KB for the object, the rest is history. With
	// it, 1 GB has 100,000 keys and 200,000 and some entries.
	bytesPerKey = 10_400
	batchOps    = 10_000 // as many changes as etcd commits at once, by default
)

// entry of the key bucket, in the order of revisions.
type entry struct {
	rev       revision
	key       int32
	before    int32 // the entry of the same key that this one supersedes; -1: none
	tombstone bool
}

type revision struct {
	main int64
	sub  int32
}

type object struct {
	kind             int8
	version          int32 // 0: it does not live
	created          int64
	lease            int64
	last             int32 // its last entry; -1: none
	hadFirstRevision bool
}

type writer struct {
	db      *bolt.DB
	spec    Spec
	rand    *rand.Rand
	phrases [][]byte

	objects   []object
	byKind    [][]int32
	history   []entry
	rev       revision
	compacted int64 // revision up to which is compacted
	swept     int   // entries of the history that the compaction looked at
	entries   int64
	live      int64
	leases    []int64
}

func newWriter(db *bolt.DB, s Spec) *writer {
	w := &writer{db: db, spec: s, rand: source(s.Seed), rev: revision{main: 1}, byKind: make([][]int32, len(kinds))}
	w.phrases = phrases(w.rand)
	w.objects = make([]object, s.Size/bytesPerKey)
	for i := range w.objects {
		k := pick(w.rand, func(k kind) int { return k.keys })
		w.objects[i] = object{kind: int8(k), last: -1} //nolint:gosec // a handful of kinds
		w.byKind[k] = append(w.byKind[k], int32(i))    //nolint:gosec // below 2^31 for any size of a disk
	}
	return w
}

// churnUntil changes objects until the file has size bytes. Objects come into being among the changes of others.
func (w *writer) churnUntil(ctx context.Context, size int64) error {
	for first := 0; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		used, err := w.used()
		if err != nil || used >= size {
			return err
		}
		// The last ones in small steps, to meet the size.
		ops := min(batchOps, int((size-used)/8000)+1)
		err = w.update(func(keys *bolt.Bucket) error {
			for range ops {
				n := first
				if first < len(w.objects) && w.objects[first].hadFirstRevision {
					first++
					continue
				}
				if first < len(w.objects) && w.rand.IntN(2) == 0 {
					first++
				} else if n = w.victim(); n < 0 {
					continue
				}
				if err := w.change(keys, n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// victim is the object that changes next: some change much more often than others.
func (w *writer) victim() int {
	of := w.byKind[pick(w.rand, func(k kind) int { return k.churn })]
	if len(of) == 0 {
		return -1
	}
	u := w.rand.Float64()
	return int(of[int(u*u*float64(len(of)))])
}

// change puts an object, or deletes it.
func (w *writer) change(keys *bolt.Bucket, n int) error {
	// Few transactions of Kubernetes hold more than one change.
	if w.rand.IntN(100) == 0 && w.rev.sub < 3 && w.rev.main > 1 {
		w.rev.sub++
	} else {
		w.rev = revision{main: w.rev.main + 1}
	}
	o := &w.objects[n]
	e := entry{rev: w.rev, key: int32(n), before: o.last} //nolint:gosec // as in newWriter
	id := name(int(o.kind), n)
	var value []byte
	if o.version > 0 && w.rand.IntN(100) < 6 {
		e.tombstone = true
		o.version = 0
		w.live--
		value = protowire.AppendTag(nil, 1, protowire.BytesType)
		value = protowire.AppendString(value, id)
	} else {
		if o.version == 0 {
			o.created, o.hadFirstRevision = w.rev.main, true
			w.live++
			if kinds[o.kind].leased {
				o.lease = w.lease()
			}
		}
		o.version++
		value = w.message(id, *o)
	}
	o.last = int32(len(w.history)) //nolint:gosec // as above
	w.history = append(w.history, e)
	w.entries++
	return keys.Put(e.bytes(), value)
}

// message is an mvccpb.KeyValue.
func (w *writer) message(id string, o object) []byte {
	object := w.value(int(o.kind), id, w.rev.main)
	b := make([]byte, 0, len(object)+len(id)+48)
	number := func(field protowire.Number, n int64) {
		b = protowire.AppendTag(b, field, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(n)) //nolint:gosec // never negative
	}
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, id)
	number(2, o.created)
	number(3, w.rev.main)
	number(4, int64(o.version))
	b = protowire.AppendTag(b, 5, protowire.BytesType)
	b = protowire.AppendBytes(b, object)
	if o.lease != 0 {
		number(6, o.lease)
	}
	return b
}

// lease of an event: the API server gives one lease to all events of a while.
func (w *writer) lease() int64 {
	if len(w.leases) == 0 || w.rand.IntN(500) == 0 {
		w.leases = append(w.leases, 0x326b_0000_0000_0000|int64(w.rand.Uint64()>>24)) //nolint:gosec // 40 bits
	}
	return w.leases[len(w.leases)-1]
}

// compactUntil removes superseded entries, oldest first, until a share of the pages is free.
func (w *writer) compactUntil(ctx context.Context, free float64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		share, err := w.free()
		// The newest tenth of the history stays as it is.
		if err != nil || share >= free || w.swept >= len(w.history)*9/10 {
			return err
		}
		err = w.update(func(keys *bolt.Bucket) error {
			for range max(len(w.history)/100, 50) {
				if err := w.sweep(keys); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// sweep takes the next entry of the history into the compaction: what it supersedes goes, a tombstone goes itself.
func (w *writer) sweep(keys *bolt.Bucket) error {
	for {
		e := w.history[w.swept]
		w.swept++
		if e.before >= 0 && !w.history[e.before].tombstone {
			if err := w.remove(keys, w.history[e.before]); err != nil {
				return err
			}
		}
		if e.tombstone {
			if err := w.remove(keys, e); err != nil {
				return err
			}
		}
		w.compacted = e.rev.main
		// A compaction takes all of a revision.
		if w.swept == len(w.history) || w.history[w.swept].rev.main != e.rev.main {
			return nil
		}
	}
}

func (w *writer) remove(keys *bolt.Bucket, e entry) error {
	w.entries--
	return keys.Delete(e.bytes())
}

func (w *writer) update(change func(keys *bolt.Bucket) error) error {
	return w.db.Update(func(tx *bolt.Tx) error {
		keys := tx.Bucket([]byte("key"))
		// As etcd does: entries only ever come at the end.
		keys.FillPercent = 0.9
		return change(keys)
	})
}

func (w *writer) used() (int64, error) {
	tx, err := w.db.Begin(false)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	return tx.Size(), nil
}

// free is the share of pages that the next transaction can use.
func (w *writer) free() (float64, error) {
	used, err := w.used()
	st := w.db.Stats()
	return float64(st.FreePageN+st.PendingPageN) * float64(os.Getpagesize()) / float64(max(used, 1)), err
}

func (e entry) bytes() []byte {
	b := make([]byte, 17, 18)
	binary.BigEndian.PutUint64(b, uint64(e.rev.main)) //nolint:gosec // never negative
	b[8] = '_'
	binary.BigEndian.PutUint64(b[9:], uint64(e.rev.sub)) //nolint:gosec // as above
	if e.tombstone {
		b = append(b, 't')
	}
	return b
}
