package restore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

// BenchmarkStage: the whole of it, and its first part. MB/s are of the snapshot.
func BenchmarkStage(b *testing.B) {
	store := threeMembers()
	store.Entries = etcdtest.Puts(2, 100_000, 4000)
	data := store.Snapshot(b)
	path := filepath.Join(b.TempDir(), "s.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := snapshot.Verify(b.Context(), path, snapshot.VerifyOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stage", func(b *testing.B) {
		dir := b.TempDir()
		b.SetBytes(int64(len(data)))
		for i := 0; b.Loop(); i++ {
			id := fmt.Sprint("s", i)
			p := restore.Params{Snapshot: path, DataDir: dir, StagingID: id, Name: "n", PeerURL: "https://10.0.0.1:2380"}
			if _, err := restore.Stage(b.Context(), p); err != nil {
				b.Fatal(err)
			}
			if err := datadir.DiscardStaging(dir, id); err != nil {
				b.Fatal(err)
			}
		}
	})
}
