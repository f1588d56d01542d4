package snapshot_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/snapshot"
)

func sample(t testing.TB) []byte {
	t.Helper()
	entries := etcdtest.Puts(2, 400, 100)
	entries = append(entries,
		etcdtest.Entry{Main: 500, Key: "/registry/000001", Value: "again"},
		etcdtest.Entry{Main: 501, Key: "/registry/000000", Tombstone: true},
		etcdtest.Entry{Main: 502, Sub: 0, Key: "/registry/x", Value: strings.Repeat("x", 9000)},
		etcdtest.Entry{Main: 502, Sub: 1, Key: "/registry/y"},
	)
	return etcdtest.Backend{
		Entries: entries, FinishedCompact: 300, ConsistentIndex: 510, Term: 2, StorageVersion: "3.7.0", ClusterVersion: "3.7.0",
		Members: []backend.Member{{ID: 7, Name: "cp-1", PeerURLs: []string{"https://10.0.0.1:2380"}}}, Leases: []int64{1, 2, 3},
	}.Snapshot(t)
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifyGood(t *testing.T) {
	data := sample(t)
	path := write(t, data)
	info, err := snapshot.Verify(t.Context(), path, snapshot.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	want := snapshot.Info{
		Path: path, Size: int64(len(data)), HashPresent: true,
		Hash: hex.EncodeToString(data[len(data)-32:]), SHA256: hex.EncodeToString(sum[:]),
		Revision: 502, LastKeyRevision: 502, CompactRevision: 300, ConsistentIndex: 510, Term: 2,
		StorageVersion: "3.7", ClusterVersion: "3.7.0", Members: info.Members,
		TotalKeys: 404, LiveKeys: 401, Leases: 3, InUse: info.InUse,
	}
	if fmt.Sprintf("%+v", info) != fmt.Sprintf("%+v", want) || len(info.Members) != 1 || info.InUse <= 0 {
		t.Fatalf("got  %+v\nwant %+v", info, want)
	}
	quick, err := snapshot.Inspect(path)
	if err != nil || quick.Revision != 502 || quick.Hash != "" || quick.TotalKeys != 0 || !quick.HashPresent {
		t.Fatalf("%+v, %v", quick, err)
	}
}

// TestVerifyRefuses names what is wrong and, where there is something to do, what (P13, P14, I17).
func TestVerifyRefuses(t *testing.T) {
	good := sample(t)
	db := good[:len(good)-32]
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 0x10
		return b
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(good); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	rehashed := func(b []byte) []byte {
		sum := sha256.Sum256(b)
		return append(b[:len(b):len(b)], sum[:]...)
	}
	otherBolt := etcdtest.Backend{Entries: []etcdtest.Entry{{Main: 9, Key: "k", Value: "v"}}}.Snapshot(t)
	otherBolt = rehashed(bytes.ReplaceAll(otherBolt[:len(otherBolt)-32], []byte("meta"), []byte("ateM")))

	skip := snapshot.VerifyOptions{SkipHash: true}
	for _, row := range []struct {
		name string
		data []byte
		o    snapshot.VerifyOptions
		want error
		says string
	}{
		{"empty", nil, skip, snapshot.ErrTruncated, "empty"},
		{"one byte", []byte{1}, skip, snapshot.ErrNotSnapshot, ""},
		{"text", []byte(strings.Repeat("apiVersion: v1\n", 1000)), skip, snapshot.ErrNotSnapshot, ""},
		{"zeros", make([]byte, 65536), skip, snapshot.ErrNotSnapshot, ""},
		{"zeros as long as with a hash", make([]byte, 65536+32), snapshot.VerifyOptions{}, snapshot.ErrNotSnapshot, ""},
		{"gzip", packed.Bytes(), snapshot.VerifyOptions{}, snapshot.ErrNotSnapshot, "unpack"},
		{"bolt, but not etcd's", otherBolt, snapshot.VerifyOptions{}, snapshot.ErrNotSnapshot, "buckets"},
		{"half", good[:len(good)/2], skip, snapshot.ErrTruncated, ""},
		{"only the headers", good[:8192], skip, snapshot.ErrTruncated, ""},
		{"last page gone, hash there", append(bytes.Clone(db[:len(db)-4096]), good[len(db):]...), skip, snapshot.ErrTruncated, ""},
		{"hash half there", good[:len(good)-16], skip, snapshot.ErrTruncated, ""},
		{"bytes after it", append(bytes.Clone(good), 1, 2, 3), skip, snapshot.ErrTruncated, "neither"},
		{"no hash", db, snapshot.VerifyOptions{}, snapshot.ErrNoHash, snapshot.SkipHashFlag},
		{"flipped bit in a value", flip(len(good) - 5000), snapshot.VerifyOptions{}, snapshot.ErrHashMismatch, "another copy"},
		{"flipped bit in the hash", flip(len(good) - 1), snapshot.VerifyOptions{}, snapshot.ErrHashMismatch, ""},
		{"flipped bit in the first header", flip(20), snapshot.VerifyOptions{}, snapshot.ErrHashMismatch, ""},
		{"a hash that is there counts even when it may be missing", flip(len(good) - 5000), skip, snapshot.ErrHashMismatch, ""},
		{"damage under a good hash", rehashed(smash(db)), snapshot.VerifyOptions{}, snapshot.ErrCorrupt, ""},
		{"damage without a hash", smash(db), skip, snapshot.ErrCorrupt, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := write(t, row.data)
			info, err := snapshot.Verify(t.Context(), path, row.o)
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want %v with %q; %+v", err, row.want, row.says, info)
			}
			if info.SHA256 != "" {
				t.Fatal("a refused file has a digest that a consent could be bound to")
			}
		})
	}
}

// smash breaks the structure: the last page's header.
func smash(db []byte) []byte {
	b := bytes.Clone(db)
	for page := len(b) - 4096; page > 0; page -= 4096 {
		if b[page+8] == 2 { // a leaf
			b[page+16+4] = 0xff // the first element's position
			b[page+16+5] = 0xff
			return b
		}
	}
	panic("no leaf page in the test's file")
}

func TestVerifyACopiedDatabase(t *testing.T) {
	// A database copied by hand has the room that bbolt made for later behind its last page, and no hash.
	path := filepath.Join(t.TempDir(), "db")
	etcdtest.Backend{Entries: etcdtest.Puts(2, 50, 100)}.Write(t, path)
	info, err := snapshot.Verify(t.Context(), path, snapshot.VerifyOptions{SkipHash: true})
	if err != nil || info.LiveKeys != 50 || info.HashPresent {
		t.Fatalf("%+v, %v", info, err)
	}
}

func TestVerifyUnreadableIsNotDamage(t *testing.T) {
	_, err := snapshot.Verify(t.Context(), filepath.Join(t.TempDir(), "none"), snapshot.VerifyOptions{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	_, err = snapshot.Verify(t.Context(), t.TempDir(), snapshot.VerifyOptions{})
	if !errors.Is(err, snapshot.ErrNotSnapshot) {
		t.Fatalf("a directory: %v", err)
	}
}

func TestVerifyStopsWithItsContext(t *testing.T) {
	path := write(t, sample(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := snapshot.Verify(ctx, path, snapshot.VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

// TestEveryFlipIsFound: with a hash no changed bit and no missing byte passes; without one nothing panics, and each
// error has a name (I17).
func TestEveryFlipIsFound(t *testing.T) {
	good := sample(t)
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // repeatable
	path := write(t, good)
	named := func(err error) bool {
		for _, want := range []error{
			snapshot.ErrTruncated, snapshot.ErrHashMismatch, snapshot.ErrNoHash, snapshot.ErrNotSnapshot, snapshot.ErrCorrupt,
		} {
			if errors.Is(err, want) {
				return true
			}
		}
		return false
	}
	for i := range 1200 {
		bad, what := bytes.Clone(good), ""
		if i%3 == 0 {
			n := r.IntN(len(bad))
			bad, what = bad[:n], fmt.Sprintf("cut to %d", n)
		} else {
			at, bit := r.IntN(len(bad)), r.IntN(8)
			if i%2 == 0 {
				at = at/4096*4096 + r.IntN(100) // where the structure is
			}
			at = min(at, len(bad)-1)
			bad[at] ^= 1 << bit
			what = fmt.Sprintf("bit %d of byte %d", bit, at)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := snapshot.Verify(t.Context(), path, snapshot.VerifyOptions{}); !named(err) {
			t.Fatalf("%s: %v", what, err)
		}
		if len(bad) == len(good) {
			if err := os.WriteFile(path, bad[:len(bad)-32], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := snapshot.Verify(t.Context(), path, snapshot.VerifyOptions{SkipHash: true}); err != nil && !named(err) {
			t.Fatalf("%s, without the hash: %v", what, err)
		}
		if _, err := snapshot.Inspect(path); err != nil && !named(err) {
			t.Fatalf("%s, inspected: %v", what, err)
		}
	}
}
