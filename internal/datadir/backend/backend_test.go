package backend_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestWalkSeesWhatBboltSees compares with bbolt itself on files of many shapes: inline and deep buckets, values over
// many pages, deletions, with and without a freelist in the file.
func TestWalkSeesWhatBboltSees(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, "db")
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		want := writeRandom(t, path)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		file, err := backend.Open(f, st.Size())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		pages, err := file.Walk(context.Background(), func(bucket string, k, v []byte) error {
			got = append(got, fmt.Sprintf("%s/%s=%x", bucket, k, v))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("walked %d entries, bbolt has %d", len(got), len(want))
		}
		if pages.InUse > pages.Total || pages.InUse < 3 || !file.Unchanged() {
			t.Fatalf("%+v", pages)
		}
	})
}

func writeRandom(t *rapid.T, path string) []string {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		NoSync: true, NoFreelistSync: rapid.Bool().Draw(t, "noFreelistSync"), PageSize: rapid.SampledFrom([]int{1024, 4096, 16384}).Draw(t, "page"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(1, 4).Draw(t, "transactions") {
		if err := db.Update(func(tx *bolt.Tx) error { return mutate(t, tx) }); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	if err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				want = append(want, fmt.Sprintf("%s/%s=%x", name, k, v))
				return nil
			})
		})
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

func mutate(t *rapid.T, tx *bolt.Tx) error {
	for _, name := range []string{"key", "meta", "x"} {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		n := rapid.SampledFrom([]int{0, 1, 20, 600}).Draw(t, "n")
		size := rapid.SampledFrom([]int{0, 10, 300, 9000}).Draw(t, "size")
		seed := rapid.IntRange(0, 5).Draw(t, "seed")
		for i := range n {
			if err := b.Put([]byte(fmt.Sprintf("%05d", i*7%(n+seed))), bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				return err
			}
		}
		for i := range n * rapid.IntRange(0, 3).Draw(t, "delete") / 3 {
			if err := b.Delete([]byte(fmt.Sprintf("%05d", i))); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestFacts(t *testing.T) {
	members := []backend.Member{
		{ID: 0xa, Name: "m1", PeerURLs: []string{"https://10.0.0.1:2380"}},
		{ID: 0xb000, IsLearner: true, PeerURLs: []string{"https://10.0.0.2:2380"}},
	}
	full := etcdtest.Backend{
		Entries: etcdtest.Puts(2, 1000, 200), FinishedCompact: 90, ScheduledCompact: 100, ConsistentIndex: 1010, Term: 3,
		StorageVersion: "3.7.0", ClusterVersion: "3.7.0", Members: members, Removed: []uint64{0xc, 0x1},
	}
	for _, row := range []struct {
		name string
		b    etcdtest.Backend
		want backend.Facts
	}{
		{"all", full, backend.Facts{
			Revision: 1001, LastKeyRevision: 1001, CompactRevision: 100, Compacting: true, ConsistentIndex: 1010, Term: 3,
			StorageVersion: "3.7", ClusterVersion: "3.7.0", Members: members, Removed: []uint64{0x1, 0xc},
		}},
		{"new: an empty store is at revision 1", etcdtest.Backend{}, backend.Facts{Revision: 1}},
		{
			"deletes at the end compacted away: the compaction is the truth (P15)",
			etcdtest.Backend{Entries: etcdtest.Puts(2, 5, 1), FinishedCompact: 40},
			backend.Facts{Revision: 40, LastKeyRevision: 6, CompactRevision: 40},
		},
		{
			"the same, crashed before the compaction was noted as finished",
			etcdtest.Backend{Entries: etcdtest.Puts(2, 5, 1), FinishedCompact: 4, ScheduledCompact: 40},
			backend.Facts{Revision: 40, LastKeyRevision: 6, CompactRevision: 40, Compacting: true},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			row.b.Write(t, path)
			got, err := openFile(t, path).Read()
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", row.want) {
				t.Fatalf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

func openFile(t testing.TB, path string) *backend.File {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := backend.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParseRevision(t *testing.T) {
	for _, row := range []struct {
		name string
		b    []byte
		want backend.Revision
		ok   bool
	}{
		{"put", etcdtest.Revision(7, 2, false), backend.Revision{Main: 7, Sub: 2}, true},
		{"deletion", etcdtest.Revision(7, 0, true), backend.Revision{Main: 7, Tombstone: true}, true},
		{"empty", nil, backend.Revision{}, false},
		{"short", etcdtest.Revision(7, 2, false)[:16], backend.Revision{}, false},
		{"long", append(etcdtest.Revision(7, 2, true), 0), backend.Revision{}, false},
		{"other mark", append(etcdtest.Revision(7, 2, false), 'x'), backend.Revision{}, false},
		{"other separator", append([]byte("12345678x"), 0, 0, 0, 0, 0, 0, 0, 0), backend.Revision{}, false},
		{"negative", etcdtest.Revision(-1, 0, false), backend.Revision{}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := backend.ParseRevision(row.b)
			if (err == nil) != row.ok || got != row.want || !row.ok && !errors.Is(err, backend.ErrCorrupt) {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
}

// small is a file with deep trees in few pages, so that random damage hits something that matters.
func small(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	etcdtest.Backend{
		Entries: append(etcdtest.Puts(2, 300, 100), etcdtest.Puts(400, 3, 9000)...), FinishedCompact: 90, ConsistentIndex: 5, Term: 1,
		Members: []backend.Member{{ID: 1, Name: "m"}}, Removed: []uint64{2}, Leases: []int64{1, 2}, Freelist: true,
	}.Write(t, path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := backend.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return data[:f.Used()]
}

// useAll calls all that reads; errors are as they may be, a panic or an endless loop is the failure.
func useAll(t testing.TB, data []byte) error {
	t.Helper()
	f, err := backend.Open(bytes.NewReader(data), int64(len(data)))
	if err == nil {
		_, err = f.Read()
		_, werr := f.Walk(context.Background(), func(string, []byte, []byte) error { return nil })
		f.Unchanged()
		err = errors.Join(err, werr)
	}
	if err != nil && !errors.Is(err, backend.ErrCorrupt) && !errors.Is(err, backend.ErrShort) && !errors.Is(err, backend.ErrNotBackend) {
		t.Fatalf("an error without a name: %v", err)
	}
	return err
}

// TestDamageNeverPanics flips bytes where the structure is (the headers of pages and elements) and anywhere, and cuts
// the file.
func TestDamageNeverPanics(t *testing.T) {
	data := small(t)
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable
	found := 0
	for i := range 6_000 {
		bad := bytes.Clone(data)
		for range 1 + r.IntN(3) {
			at := r.IntN(len(bad))
			if i%2 == 0 {
				at = at/4096*4096 + r.IntN(200)
			}
			bad[at] = byte(r.UintN(256))
			if i%3 == 0 {
				bad[at] = 0xff
			}
		}
		if i%10 == 0 {
			bad = bad[:r.IntN(len(bad))]
		}
		if useAll(t, bad) != nil {
			found++
		}
	}
	if found < 600 {
		t.Fatalf("only %d of 6000 damaged files were found to be so", found)
	}
}

// TestCycle: pages that point at each other end in an error, not in a loop.
func TestCycle(t *testing.T) {
	data := small(t)
	// Every child pointer of every branch page leads back to the page itself.
	branches := 0
	for page := 2; (page+1)*4096 <= len(data); page++ {
		p := data[page*4096:]
		if p[8] != 1 || p[9] != 0 {
			continue
		}
		branches++
		for i := range int(p[10]) {
			e := p[16+i*16:]
			copy(e[8:16], []byte{byte(page), 0, 0, 0, 0, 0, 0, 0})
		}
	}
	if branches == 0 {
		t.Fatal("no branch page in the test's file")
	}
	if err := useAll(t, data); !errors.Is(err, backend.ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
}

func TestWalkStopsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	etcdtest.Backend{Entries: etcdtest.Puts(2, 20_000, 300)}.Write(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := openFile(t, path).Walk(ctx, func(string, []byte, []byte) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n > 10_000 {
		t.Fatalf("%d entries, %v", n, err)
	}
}

func FuzzBackend(f *testing.F) {
	data := small(f)
	f.Add(data)
	f.Add(data[:8192])
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, b []byte) { _ = useAll(t, b) })
}
