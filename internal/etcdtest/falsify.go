package etcdtest

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// Falsify changes each value that is old to another in the database of an etcd that does not run, as a disk or a bug
// would: nothing says so but the hash.
func Falsify(t testing.TB, dataDir, old, value string) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dataDir, "member", "snap", "db"), 0o600, &bolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = db.Update(func(tx *bolt.Tx) error {
		changed := map[string][]byte{}
		b := tx.Bucket([]byte("key"))
		if err := b.ForEach(func(k, v []byte) error {
			var kv mvccpb.KeyValue
			if err := proto.Unmarshal(v, &kv); err != nil {
				return err
			}
			if !bytes.Equal(kv.GetValue(), []byte(old)) {
				return nil
			}
			kv.Value = []byte(value)
			raw, err := proto.Marshal(&kv)
			changed[string(k)] = raw
			return err
		}); err != nil {
			return err
		}
		n = len(changed)
		for k, v := range changed {
			if err := b.Put([]byte(k), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("etcdtest: falsify %s: %d values, %v", dataDir, n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
