package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/snapshot"
)

// FuzzChecker passes any bytes through a Checker, in pieces of any length, with and without a hash that is right for
// them. Nothing panics, every refusal has a name, the pieces change nothing, and what is taken for good is read the same by
// the other code that reads it, page by page (I17).
func FuzzChecker(f *testing.F) {
	// Small, so that there are many a second.
	good := etcdtest.Backend{
		Entries: append(etcdtest.Puts(2, 4, 9), etcdtest.Entry{Main: 8, Key: "/registry/000001", Tombstone: true}), FinishedCompact: 3,
		ConsistentIndex: 9, Term: 2, StorageVersion: "3.7.0", ClusterVersion: "3.7.0", Members: []backend.Member{{ID: 7, Name: "cp-1"}}, Leases: []int64{1},
	}.Snapshot(f)
	db := good[:len(good)-sha256.Size]
	f.Add(good, uint16(0), false)
	f.Add(db, uint16(4096), true)
	f.Add(db[:8192], uint16(1), true)
	f.Add([]byte("hello"), uint16(3), false)
	f.Fuzz(func(t *testing.T, data []byte, piece uint16, rehash bool) {
		if rehash {
			sum := sha256.Sum256(data)
			data = append(bytes.Clone(data), sum[:]...)
		}
		info, err := passed(data, int(piece))
		if whole, wholeErr := passed(data, len(data)); fmt.Sprint(info, err) != fmt.Sprint(whole, wholeErr) {
			t.Fatalf("in pieces of %d: %+v, %v\nwhole: %+v, %v", piece, info, err, whole, wholeErr)
		}
		if err != nil {
			known := false
			for _, want := range []error{snapshot.ErrTruncated, snapshot.ErrHashMismatch, snapshot.ErrNoHash, snapshot.ErrNotSnapshot, snapshot.ErrCorrupt} {
				known = known || errors.Is(err, want)
			}
			if !known || info.SHA256 != "" {
				t.Fatalf("an error without a name, or with a digest (%s): %v", info.SHA256, err)
			}
			return
		}
		old, err := oldWalk(data)
		if err != nil || fmt.Sprintf("%+v", old) != fmt.Sprintf("%+v", info) {
			t.Fatalf("it passed as %+v\nand is read as %+v, %v", info, old, err)
		}
	})
}

func passed(data []byte, piece int) (snapshot.Info, error) {
	c := snapshot.NewChecker(snapshot.CheckOptions{})
	defer c.Close()
	for rest := data; len(rest) > 0; {
		n := min(max(piece, 1), len(rest))
		if _, err := c.Write(rest[:n]); err != nil {
			return snapshot.Info{}, err
		}
		rest = rest[n:]
	}
	return c.Finish()
}
