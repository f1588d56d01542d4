package snapshot_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"

	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/snapshot"
)

// oldWalk reads a snapshot by random access through the tree: other code than the Checker's, to compare with.
func oldWalk(data []byte) (snapshot.Info, error) {
	size := int64(len(data) - sha256.Size)
	sum, content := sha256.Sum256(data), sha256.Sum256(data[:size])
	info := snapshot.Info{
		Size: int64(len(data)), HashPresent: true, Hash: hex.EncodeToString(content[:]), SHA256: hex.EncodeToString(sum[:]),
	}
	f, err := backend.Open(bytes.NewReader(data), size)
	if err != nil {
		return info, err
	}
	facts, err := f.Read()
	if err != nil {
		return info, err
	}
	info.Revision, info.LastKeyRevision, info.CompactRevision = facts.Revision, facts.LastKeyRevision, facts.CompactRevision
	info.ConsistentIndex, info.Term, info.Members = facts.ConsistentIndex, facts.Term, facts.Members
	info.StorageVersion, info.ClusterVersion = facts.StorageVersion, facts.ClusterVersion
	live := map[string]bool{}
	pages, err := f.Walk(context.Background(), func(bucket string, key, value []byte) error {
		switch bucket {
		case backend.BucketLease:
			info.Leases++
		case backend.BucketKey:
			info.TotalKeys++
			rev, err := backend.ParseRevision(key)
			if err != nil {
				return err
			}
			e, ok := backend.ParseEntry(value)
			switch {
			case !ok:
				return backend.ErrCorrupt
			case rev.Tombstone:
				delete(live, string(e.Key))
			case len(e.Key) > 0:
				live[string(e.Key)] = true
			}
		}
		return nil
	})
	info.LiveKeys, info.InUse = int64(len(live)), pages.InUse*f.PageSize()
	return info, err
}
