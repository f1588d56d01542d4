// Package dataset makes etcd snapshots of any size to measure with: many kinds of Kubernetes-like objects, with a
// history of updates and deletes over them, leases, compactions, and free pages in between, as a cluster leaves them
// after months.
//
// It writes etcd's schema with bbolt directly, as etcd itself does in its batches. Through an etcd, 4 GB would take
// many minutes.
package dataset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Spec of a snapshot. The same Spec gives the same objects in the same order; how many of them fit, and on which pages,
// differs a little, since bbolt picks among free pages as it likes.
type Spec struct {
	Size int64 // of the database, bytes; the result is within some percent of it
	Seed uint64
	// Free is the share of free pages in it.
	Free float64
}

// Info is what was made.
type Info struct {
	Size      int64 `json:"size"` // of the snapshot, hash included
	Revision  int64 `json:"revision"`
	Compacted int64 `json:"compacted"`
	Entries   int64 `json:"entries"` // in the key bucket
	Keys      int64 `json:"keys"`    // that live
	Leases    int64 `json:"leases"`
	// Free is the share of free pages.
	Free float64 `json:"free"`
}

// Version of what Make writes: a file made by another one is another.
const Version = 1

// Make writes a snapshot to path, which must not exist.
func Make(ctx context.Context, s Spec, path string) (Info, error) {
	info, err := makeSnapshot(ctx, s, path)
	if err != nil {
		return Info{}, fmt.Errorf("make a database of %d bytes at %s: %w", s.Size, path, err)
	}
	return info, nil
}

func makeSnapshot(ctx context.Context, s Spec, path string) (_ Info, err error) {
	if s.Size < 1<<20 || s.Free < 0 || s.Free > 0.3 {
		return Info{}, errors.New("the size must be 1 MB at least, the share of free pages from 0 to 0.3")
	}
	raw := path + ".bolt"
	if _, err := os.Lstat(raw); err == nil {
		return Info{}, fmt.Errorf("%s is in the way", raw)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(raw)) }()
	// As etcd opens it. Nothing is flushed: a crash loses only what can be made again.
	db, err := bolt.Open(raw, 0o600, &bolt.Options{
		Timeout: time.Second, NoSync: true, NoGrowSync: true, NoFreelistSync: true,
		FreelistType: bolt.FreelistMapType, InitialMmapSize: int(s.Size + s.Size/2),
	})
	if err != nil {
		return Info{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	w := newWriter(db, s)
	if err := w.fill(ctx); err != nil {
		return Info{}, err
	}
	info := w.info()
	info.Size, err = save(db, path)
	return info, err
}

// save writes what etcd would send: the pages, and their hash.
func save(db *bolt.DB, path string) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's own path
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	h := sha256.New()
	err = db.View(func(tx *bolt.Tx) error {
		size, err = tx.WriteTo(io.MultiWriter(f, h))
		return err
	})
	if err != nil {
		return 0, err
	}
	n, err := f.Write(h.Sum(nil))
	return size + int64(n), err
}

// fill makes the history. Compactions come twice: what the first one frees is used again by what follows, so that the
// pages of the file are not in the order of the revisions.
func (w *writer) fill(ctx context.Context) error {
	if err := w.begin(); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return w.churnUntil(ctx, w.spec.Size*7/10) },
		func() error { return w.compactUntil(ctx, w.spec.Free*1.5) },
		func() error { return w.churnUntil(ctx, w.spec.Size) },
		func() error { return w.compactUntil(ctx, w.spec.Free) },
		w.finish,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// source gives the random numbers of a history.
func source(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 0x6365_6f62_656e_6368)) //nolint:gosec // it must be the same each time, not secret
}
