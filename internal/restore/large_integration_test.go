//go:build integration

package restore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
)

// writeLarge makes a backend of about size bytes, of values like Kubernetes': some hundred bytes to some KiB.
func writeLarge(t testing.TB, path string, size int64) {
	t.Helper()
	etcdtest.Backend{StorageVersion: "3.7.0", ClusterVersion: "3.7.0", ConsistentIndex: 9, Term: 2}.Write(t, path)
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	rev, written := int64(1), int64(0)
	for written < size {
		err := db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("key"))
			b.FillPercent = 0.9
			for range 20_000 {
				rev++
				n := 300 + rnd.IntN(3000)
				off := rnd.IntN(len(noise) - n)
				v, err := proto.Marshal(&mvccpb.KeyValue{
					Key:   fmt.Appendf(nil, "/registry/pods/ns-%d/pod-%06d", rev%50, rev%100_000),
					Value: noise[off : off+n], ModRevision: rev, CreateRevision: rev, Version: 1,
				})
				if err != nil {
					return err
				}
				if err := b.Put(etcdtest.Revision(rev, 0, false), v); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		written = st.Size()
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// appendHash makes a snapshot file of a backend file.
func appendHash(t testing.TB, path string) (size int64, sum string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		t.Fatal(err)
	}
	end := h.Sum(nil)
	if _, err := f.Write(end); err != nil {
		t.Fatal(err)
	}
	h.Write(end)
	return n + int64(len(end)), hex.EncodeToString(h.Sum(nil))
}

// largeSize is 1 GiB; CEO_RESTORE_GIB asks for more.
func largeSize(t testing.TB) int64 {
	t.Helper()
	if s := os.Getenv("CEO_RESTORE_GIB"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n << 30
	}
	return 1 << 30
}

// TestMemoryDoesNotGrowWithTheDatabase streams a large snapshot and looks at the heap all the while. What grows with the
// database is the check's record of pages, some bits each.
func TestMemoryDoesNotGrowWithTheDatabase(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	writeLarge(t, path, largeSize(t))
	size, sum := appendHash(t, path)
	runtime.GC()
	debug.FreeOSMemory()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-tick.C:
			case <-stop:
				peak <- most
				return
			}
		}
	}()
	r, err := restore.Offline(t.Context(), restore.OfflineParams{
		DataDir: filepath.Join(dir, "data"),
		Source: restore.Source{Label: "stream", Size: size, SHA256: sum, Open: func(context.Context) (io.ReadCloser, error) {
			return os.Open(path)
		}},
	})
	close(stop)
	most := <-peak
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB: receive %s, check %s, edit %s, flush %s; heap at most %d MiB, backend %d bytes more than the snapshot's", size>>20,
		r.Elapsed.Receive, r.Elapsed.Check, r.Elapsed.Edit, r.Elapsed.Flush, most>>20, r.Bytes-(size-sha256.Size))
	limit := uint64(100 << 20)
	if size > 2<<30 {
		limit = 200 << 20
	}
	if most > limit {
		t.Fatalf("the heap grew to %d MiB", most>>20)
	}
	// Bytes written: the database once, and the pages of one transaction.
	if more := r.Bytes - (size - sha256.Size); more > 1<<20 {
		t.Fatalf("the backend grew by %d bytes", more)
	}
	if !bytes.Contains([]byte(r.SnapshotSHA256), []byte(sum)) {
		t.Fatal(r.SnapshotSHA256)
	}
}

// BenchmarkOffline: a local file of 1 GiB, beside cp and fsync.
func BenchmarkOffline(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "s.db")
	writeLarge(b, path, largeSize(b))
	size, _ := appendHash(b, path)
	b.Run("cp+fsync", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			copySync(b, path, filepath.Join(dir, "copy"))
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(size)
		var e restore.Elapsed
		n := 0
		for b.Loop() {
			d := filepath.Join(dir, "data")
			r, err := restore.Offline(b.Context(), restore.OfflineParams{DataDir: d, Source: restore.Source{Path: path}})
			if err != nil {
				b.Fatal(err)
			}
			e.Receive, e.Check, e.Edit, e.Flush = e.Receive+r.Elapsed.Receive, e.Check+r.Elapsed.Check, e.Edit+r.Elapsed.Edit, e.Flush+r.Elapsed.Flush
			n++
			b.StopTimer()
			_ = os.RemoveAll(d)
			b.StartTimer()
		}
		for name, d := range map[string]time.Duration{"receive": e.Receive, "check": e.Check, "edit": e.Edit, "flush": e.Flush} {
			b.ReportMetric(float64(d.Milliseconds())/float64(n), name+"-ms")
		}
	})
}

func copySync(b *testing.B, from, to string) {
	b.Helper()
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		b.Fatal(err)
	}
	if err := out.Sync(); err != nil {
		b.Fatal(err)
	}
	_ = out.Close()
	b.StopTimer()
	_ = os.Remove(to)
	b.StartTimer()
}
