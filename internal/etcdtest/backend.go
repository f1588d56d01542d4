package etcdtest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// Backend is what to write into a backend file made without an etcd: for shapes that a real one makes rarely, or only
// in another version.
type Backend struct {
	Entries          []Entry
	ScheduledCompact int64
	FinishedCompact  int64
	ConsistentIndex  uint64
	Term             uint64
	StorageVersion   string
	ClusterVersion   string
	Members          []backend.Member
	Removed          []uint64
	Leases           []int64
	Freelist         bool // keep the list of free pages in the file; etcd does not
}

// Entry of the key bucket.
type Entry struct {
	Main, Sub int64
	Key       string
	Value     string
	Tombstone bool
}

// Puts gives n entries at revisions from first, values of size bytes.
func Puts(first int64, n, size int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{
			Main: first + int64(i), Key: fmt.Sprintf("/registry/%06d", i),
			Value: fmt.Sprintf("%0*d", size, i),
		}
	}
	return entries
}

// Revision gives etcd's bytes of a revision.
func Revision(main, sub int64, tombstone bool) []byte {
	b := make([]byte, 17, 18)
	binary.BigEndian.PutUint64(b, uint64(main)) //nolint:gosec // tests write what they like
	b[8] = '_'
	binary.BigEndian.PutUint64(b[9:], uint64(sub)) //nolint:gosec // as above
	if tombstone {
		b = append(b, 't')
	}
	return b
}

// Write makes the backend file at path.
func (b Backend) Write(t testing.TB, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: !b.Freelist, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(b.fill); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func (b Backend) fill(tx *bolt.Tx) error {
	buckets := map[string]*bolt.Bucket{}
	for _, name := range []string{
		"key", "meta", "lease", "alarm", "cluster", "members", "members_removed", "auth", "authUsers", "authRoles",
	} {
		bkt, err := tx.CreateBucket([]byte(name))
		if err != nil {
			return err
		}
		buckets[name] = bkt
	}
	put := func(bucket, key string, value []byte) error { return buckets[bucket].Put([]byte(key), value) }
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for _, e := range b.Entries {
		kv := &mvccpb.KeyValue{Key: []byte(e.Key)}
		if !e.Tombstone {
			kv.Value, kv.ModRevision, kv.CreateRevision, kv.Version = []byte(e.Value), e.Main, e.Main, 1
		}
		value, err := proto.Marshal(kv)
		if err != nil {
			return err
		}
		if err := put("key", string(Revision(e.Main, e.Sub, e.Tombstone)), value); err != nil {
			return err
		}
	}
	meta := map[string][]byte{}
	if b.ScheduledCompact != 0 {
		meta["scheduledCompactRev"] = Revision(b.ScheduledCompact, 0, false)
	}
	if b.FinishedCompact != 0 {
		meta["finishedCompactRev"] = Revision(b.FinishedCompact, 0, false)
	}
	if b.ConsistentIndex != 0 {
		meta["consistent_index"], meta["term"] = number(b.ConsistentIndex), number(b.Term)
	}
	if b.StorageVersion != "" {
		meta["storageVersion"] = []byte(b.StorageVersion)
	}
	for k, v := range meta {
		if err := put("meta", k, v); err != nil {
			return err
		}
	}
	if b.ClusterVersion != "" {
		if err := put("cluster", "clusterVersion", []byte(b.ClusterVersion)); err != nil {
			return err
		}
	}
	for _, m := range b.Members {
		value, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := put("members", fmt.Sprintf("%x", m.ID), value); err != nil {
			return err
		}
	}
	for _, id := range b.Removed {
		if err := put("members_removed", fmt.Sprintf("%x", id), []byte("removed")); err != nil {
			return err
		}
	}
	for _, id := range b.Leases {
		if err := put("lease", string(number(uint64(id))), []byte{}); err != nil { //nolint:gosec // tests
			return err
		}
	}
	return nil
}

// Snapshot gives the bytes that etcd would send of this backend: its pages and their hash.
func (b Backend) Snapshot(t testing.TB) []byte {
	t.Helper()
	path := t.TempDir() + "/db"
	b.Write(t, path)
	data, err := os.ReadFile(path) //nolint:gosec // written just now
	if err != nil {
		t.Fatal(err)
	}
	// As etcd does, without the room that bbolt made at the end of the file for later.
	f, err := os.Open(path) //nolint:gosec // as above
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	file, err := backend.Open(f, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	data = data[:file.Used()]
	sum := sha256.Sum256(data)
	return append(data[:len(data):len(data)], sum[:]...)
}
