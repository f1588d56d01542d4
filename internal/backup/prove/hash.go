package prove

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// hashOf computes the hash that etcd answers to HashKV, from the file: CRC-32C over the name of the key bucket and over
// all keys and values of it in their order (etcd 3.5 to 3.7, server/storage/mvcc/hash.go). It is computed by other code
// than etcd's on purpose: the one that served the data must not vouch for it alone.
//
// exact is false where the store was in the middle of a compaction: etcd leaves out what is about to be removed.
type fileHash struct {
	hash     uint32
	revision int64
	exact    bool
}

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
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, _ = h.Write([]byte(backend.BucketKey))
	if _, err := file.Walk(ctx, func(bucket string, key, value []byte) error {
		if bucket == backend.BucketKey {
			_, _ = h.Write(key)
			_, _ = h.Write(value)
		}
		return nil
	}); err != nil {
		return fileHash{}, fmt.Errorf("hash the restored store: %w", err)
	}
	return fileHash{hash: h.Sum32(), revision: facts.Revision, exact: !facts.Compacting}, nil
}
