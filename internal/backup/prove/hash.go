package prove

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// fileHash is the hash that etcd answers to HashKV, computed from the file by other code than etcd's: the one that served the
// data must not vouch for it alone.
//
// exact is false where the store was in the middle of a compaction: etcd leaves out what is about to be removed.
type fileHash struct {
	hash     uint32
	revision int64
	exact    bool
}

// hashOf reads a backend file.
func hashOf(ctx context.Context, path string) (fileHash, error) {
	f, err := os.Open(path) //nolint:gosec // the scratch copy
	if err != nil {
		return fileHash{}, fmt.Errorf("hash the restored store: %w", err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return fileHash{}, fmt.Errorf("hash the restored store: %w", err)
	}
	file, err := backend.Open(f, st.Size())
	if err != nil {
		return fileHash{}, fmt.Errorf("hash the restored store: %w", err)
	}
	facts, err := file.Read()
	if err != nil {
		return fileHash{}, fmt.Errorf("hash the restored store: %w", err)
	}
	sums, err := sumsOf(ctx, file, facts.CompactRevision)
	if err != nil {
		return fileHash{}, fmt.Errorf("hash the restored store: %w", err)
	}
	return fileHash{hash: sums, revision: facts.Revision, exact: !facts.Compacting}, nil
}

// sumsOf is CRC-32C over the name of the key bucket and over keys and values of its entries in their order (etcd 3.5 to
// 3.7, server/storage/mvcc/hash.go). What a compaction at the present revision would remove of the entries up to the last
// compaction is left out: those of keys that changed since. So is a deletion at the compacted revision itself, which
// older versions remove. With no live key at all nothing of the former is left out.
func sumsOf(ctx context.Context, file *backend.File, compacted int64) (uint32, error) {
	changed := map[[16]byte]bool{} // since the compaction; true: it is there
	if compacted > 0 {
		if err := entries(ctx, file, func(e entry) {
			if e.main > compacted {
				changed[e.id] = !e.tombstone
			}
		}); err != nil {
			return 0, err
		}
	}
	live := false
	for _, there := range changed {
		live = live || there
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	kept, all := crc32.New(table), crc32.New(table)
	_, _ = kept.Write([]byte(backend.BucketKey))
	_, _ = all.Write([]byte(backend.BucketKey))
	if err := entries(ctx, file, func(e entry) {
		if e.main == compacted && e.tombstone {
			return
		}
		_, _ = all.Write(e.key)
		_, _ = all.Write(e.value)
		if e.main <= compacted {
			if _, gone := changed[e.id]; gone || e.tombstone {
				return
			}
			live = true
		}
		_, _ = kept.Write(e.key)
		_, _ = kept.Write(e.value)
	}); err != nil {
		return 0, err
	}
	if !live {
		return all.Sum32(), nil
	}
	return kept.Sum32(), nil
}

// entry of the key bucket.
type entry struct {
	key, value []byte
	main       int64
	tombstone  bool
	id         [16]byte // of the user's key
}

// The bucket's keys: revision, an underscore, its part within the transaction, and a mark on a deletion.
const (
	revisionLen  = 17
	tombstoneLen = 18
)

func entries(ctx context.Context, file *backend.File, visit func(entry)) error {
	_, err := file.Walk(ctx, func(bucket string, key, value []byte) error {
		if bucket != backend.BucketKey {
			return nil
		}
		kv, ok := backend.ParseEntry(value)
		if !ok || len(key) < revisionLen {
			return fmt.Errorf("the entry %x does not parse", key)
		}
		sum := sha256.Sum256(kv.Key)
		visit(entry{
			key: key, value: value, id: [16]byte(sum[:16]), tombstone: len(key) == tombstoneLen,
			main: int64(binary.BigEndian.Uint64(key)), //nolint:gosec // etcd's own conversion
		})
		return nil
	})
	return err
}
