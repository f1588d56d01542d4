package restore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	// The backend's file format: the only writer of it but for one empty page, see freelist.go.
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// edits are all that a restored backend differs in from its snapshot. What is not named here is kept as it was: keys,
// leases, users and roles, alarms, the cluster version and an ordered downgrade, the storage version.
type edits struct {
	members map[string][]byte // the new members bucket; those of the old cluster are forgotten, removed ones too
	index   uint64            // the raft index and term that the backend is as of
	term    uint64

	// revision to begin at, everything up to it compacted; 0: as it was. It must be beyond every entry.
	revision int64
}

// Names of etcd's schema (server/storage/schema, 3.7.3), unchanged since 3.5.
var (
	bucketKey     = []byte("key")
	bucketMeta    = []byte("meta")
	bucketMembers = []byte("members")
	bucketRemoved = []byte("members_removed")
	bucketCluster = []byte("cluster")
	keyIndex      = []byte("consistent_index")
	keyTerm       = []byte("term")
	keyScheduled  = []byte("scheduledCompactRev")
)

// edit does all of it in one transaction of one opening. It flushes nothing: the caller does, once.
func edit(path string, e edits) (err error) {
	defer recovered("edit "+path, &err)
	// bbolt maps the file: a page that the disk can not read is a fault, which is a panic here and an end elsewhere.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if err := skipFreelist(path); err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		// Nobody else has it: it lies in staging. A lock that is held all the same is an error, not a wait.
		Timeout: time.Second,
		// As etcd: the free pages are not in the file but found at its start.
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		NoSync: true, NoGrowSync: true, NoStatistics: true,
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(e.apply)
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("edit %s: %w", path, err)
	}
	return nil
}

func (e edits) apply(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMembers, bucketRemoved} {
		// Absent before etcd 3.5.
		if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	buckets := map[string]*bolt.Bucket{}
	for _, name := range [][]byte{bucketMembers, bucketRemoved, bucketCluster, bucketMeta, bucketKey} {
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
		buckets[string(name)] = b
	}
	for id, value := range e.members {
		if err := buckets[string(bucketMembers)].Put([]byte(id), value); err != nil {
			return err
		}
	}
	meta := buckets[string(bucketMeta)]
	if err := meta.Put(keyIndex, binary.BigEndian.AppendUint64(nil, e.index)); err != nil {
		return err
	}
	if err := meta.Put(keyTerm, binary.BigEndian.AppendUint64(nil, e.term)); err != nil {
		return err
	}
	if e.revision == 0 {
		return nil
	}
	return e.raise(buckets[string(bucketKey)], meta)
}

// raise lets the store begin at a higher revision: an entry of no key at that revision, which etcd takes for the last
// one, and a compaction that is due up to it, which etcd does as it starts. It ends every watch that begins below (P3).
func (e edits) raise(keys, meta *bolt.Bucket) error {
	// The order of the keys is the order of the revisions: the last one is the greatest.
	if last, _ := keys.Cursor().Last(); last != nil {
		rev, err := backend.ParseRevision(last)
		if err != nil {
			return err
		}
		if rev.Main >= e.revision {
			return fmt.Errorf("the last entry is at revision %d, which is not below %d", rev.Main, e.revision)
		}
	}
	mark := revisionBytes(e.revision)
	if err := keys.Put(mark, []byte{}); err != nil {
		return err
	}
	return meta.Put(keyScheduled, mark)
}

// revisionBytes is etcd's form: main, '_', sub.
func revisionBytes(main int64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 17), uint64(main)) //nolint:gosec // a revision is not negative
	b = append(b, '_')
	return binary.BigEndian.AppendUint64(b, 0)
}
