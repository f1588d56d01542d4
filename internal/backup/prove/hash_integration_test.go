//go:build integration

package prove

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

// A store that was compacted and written to since, restored with a bump and written to again, compacted at a deletion, or
// emptied, is proven like any other: the file's hash is the one that etcd gives.
func TestProvenWhateverWasCompacted(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	m := etcdtest.Start(t, etcdtest.Options{}).Members[0]
	work := func(n int) (last int64) {
		t.Helper()
		ctx, cli := etcdtest.Context(t), m.Client(t)
		for range n {
			key := fmt.Sprint("k", rnd.IntN(30))
			if rnd.IntN(4) == 0 {
				r, err := cli.Delete(ctx, key)
				if err != nil {
					t.Fatal(err)
				}
				last = r.Header.Revision
				continue
			}
			r, err := cli.Put(ctx, key, fmt.Sprint(rnd.Uint64()))
			if err != nil {
				t.Fatal(err)
			}
			last = r.Header.Revision
		}
		return last
	}
	compact := func(rev int64) {
		t.Helper()
		if _, err := m.Client(t).Compact(etcdtest.Context(t), rev, clientv3.WithCompactPhysical()); err != nil {
			t.Fatal(err)
		}
	}
	proven(t, m, "never compacted", work(100))
	compact(work(40) - 10)
	proven(t, m, "compacted", work(40))
	last := work(20)
	compact(last)
	proven(t, m, "compacted at its revision", last)
	ctx := etcdtest.Context(t)
	if _, err := m.Client(t).Put(ctx, "gone", "x"); err != nil {
		t.Fatal(err)
	}
	r, err := m.Client(t).Delete(ctx, "gone")
	if err != nil {
		t.Fatal(err)
	}
	compact(r.Header.Revision)
	proven(t, m, "compacted at a deletion", r.Header.Revision)
	proven(t, m, "compacted at a deletion, and written to", work(20))

	for round := range 2 {
		snap := save(t, m)
		m.Kill(t)
		dir := filepath.Join(t.TempDir(), "restored")
		if _, err := restore.Offline(t.Context(), restore.OfflineParams{Source: restore.Source{Path: snap.Path}, DataDir: dir, Name: m.Name, PeerURLs: []string{m.PeerURL}}); err != nil {
			t.Fatal(err)
		}
		m.DataDir = dir
		m.Start(t)
		proven(t, m, fmt.Sprint("bumped for the time ", round+1), work(40))
		compact(work(10))
		proven(t, m, fmt.Sprint("bumped for the time ", round+1, ", compacted"), work(15))
	}
	if _, err := m.Client(t).Delete(etcdtest.Context(t), "", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	proven(t, m, "emptied", 0)
}

func save(t *testing.T, m *etcdtest.Member) snapshot.Info {
	t.Helper()
	info, err := snapshot.Save(etcdtest.Context(t), snapshot.Config{Endpoints: []string{m.ClientURL}}, filepath.Join(t.TempDir(), "snapshot.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func proven(t *testing.T, m *etcdtest.Member, what string, revision int64) {
	t.Helper()
	info := save(t, m)
	if revision != 0 && info.Revision != revision {
		t.Fatalf("%s: revision %d, want %d", what, info.Revision, revision)
	}
	r, err := Run(etcdtest.Context(t), Params{
		Open: func(context.Context) (io.ReadCloser, error) { return os.Open(info.Path) },
		Size: info.Size, SHA256: info.SHA256, Label: what, Revision: info.Revision, Keys: info.LiveKeys,
		Scratch: t.TempDir(), Sockets: shortDir(t), Etcd: filepath.Join(etcdtest.BinDir(t), "etcd"),
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if r.Hash == 0 {
		t.Fatalf("%s: no hash was compared", what)
	}
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
