package dataset

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"
)

const memberID = 0x8e9e_05c5_2164_694d

// begin makes the buckets of etcd 3.7.
func (w *writer) begin() error {
	return w.db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{
			"key", "meta", "lease", "alarm", "cluster", "members", "members_removed", "auth", "authUsers", "authRoles",
		} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// finish writes what etcd notes beside the keys.
func (w *writer) finish() error {
	return w.db.Update(func(tx *bolt.Tx) error {
		number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
		put := func(bucket, key string, value []byte) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), value) }
		compacted := entry{rev: revision{main: w.compacted}}.bytes()
		id := fmt.Sprintf("%x", uint64(memberID))
		for _, e := range []struct {
			bucket, key string
			value       []byte
		}{
			// The log had entries that changed no key: leases, members, the compactions.
			{"meta", "consistent_index", number(uint64(w.rev.main)*11/10 + 1000)}, //nolint:gosec // never negative
			{"meta", "term", number(7)},
			{"meta", "confState", fmt.Appendf(nil, `{"voters":[%d],"auto_leave":false}`, uint64(memberID))},
			{"meta", "storageVersion", []byte("3.7.0")},
			{"meta", "scheduledCompactRev", compacted},
			{"meta", "finishedCompactRev", compacted},
			{"cluster", "clusterVersion", []byte("3.7.0")},
			{"members", id, fmt.Appendf(nil,
				`{"id":%d,"peerURLs":["https://10.0.0.11:2380"],"name":"cp-1","clientURLs":["https://10.0.0.11:2379"]}`, uint64(memberID))},
		} {
			if err := put(e.bucket, e.key, e.value); err != nil {
				return err
			}
		}
		for _, lease := range w.leases {
			// Longer than any measurement: a lease that runs out would delete its keys during one.
			value := protowire.AppendTag(nil, 1, protowire.VarintType)
			value = protowire.AppendVarint(value, uint64(lease)) //nolint:gosec // never negative
			value = protowire.AppendTag(value, 2, protowire.VarintType)
			value = protowire.AppendVarint(value, 24*3600)
			if err := put("lease", string(number(uint64(lease))), value); err != nil { //nolint:gosec // as above
				return err
			}
		}
		return nil
	})
}

func (w *writer) info() Info {
	free, err := w.free()
	if err != nil {
		free = 0 // only a figure for the page
	}
	return Info{
		Revision: w.rev.main, Compacted: w.compacted, Entries: w.entries, Keys: w.live, Leases: int64(len(w.leases)), Free: free,
	}
}
