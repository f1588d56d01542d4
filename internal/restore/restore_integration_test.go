//go:build integration

package restore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

// fill writes n revisions: puts, overwrites, deletes and a lease, and gives the store's revision.
func fill(t *testing.T, cli *clientv3.Client, prefix string, n int) int64 {
	t.Helper()
	ctx := etcdtest.Context(t)
	lease, err := cli.Grant(ctx, 3600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Put(ctx, prefix+"leased", "v", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	var rev int64
	for i := range n {
		resp, err := cli.Put(ctx, fmt.Sprintf("%s%04d", prefix, i%(n/2)), fmt.Sprintf("value %d", i))
		if err != nil {
			t.Fatal(err)
		}
		rev = resp.Header.Revision
	}
	for i := range n / 10 {
		resp, err := cli.Delete(ctx, fmt.Sprintf("%s%04d", prefix, i))
		if err != nil {
			t.Fatal(err)
		}
		rev = resp.Header.Revision
	}
	return rev
}

func all(t *testing.T, cli *clientv3.Client) map[string]string {
	t.Helper()
	resp, err := cli.Get(etcdtest.Context(t), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	kvs := map[string]string{}
	for _, kv := range resp.Kvs {
		kvs[string(kv.Key)] = fmt.Sprintf("%s lease=%d", kv.Value, kv.Lease)
	}
	return kvs
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s should not be there", k)
		}
	}
}

func save(t *testing.T, m *etcdtest.Member) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	cfg := snapshot.Config{Endpoints: []string{m.ClientURL}}
	if m.PKI != nil {
		cfg.TLS = m.PKI.ClientTLS(t)
	}
	if _, err := snapshot.Save(etcdtest.Context(t), cfg, path, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRestoreTwiceInARow goes the whole way twice (P18): data, snapshot, more data, loss, archive, stage, activate,
// boot; and looks at what a client with an old watch sees (I10, I15, P3).
func TestRestoreTwiceInARow(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	m := c.Members[0]
	seen := map[uint64]bool{}
	for round := range 2 {
		cli := m.Client(t)
		ctx := etcdtest.Context(t)
		snapRev := fill(t, cli, fmt.Sprintf("/registry/a%d/", round), 200)
		want := all(t, cli)
		snap := save(t, m)
		served := fill(t, cli, fmt.Sprintf("/registry/lost%d/", round), 50)

		before, err := datadir.Inspect(ctx, m.DataDir, datadir.InspectOptions{WALTail: true})
		if err != nil || before.State != datadir.Present || !before.InUse {
			t.Fatalf("before: %+v, %v", before, err)
		}
		seen[before.ClusterID] = true

		// Staged while the old etcd still serves: nothing of it is touched.
		id := fmt.Sprintf("recovery-%d", round)
		p := restore.Params{
			Snapshot: snap, DataDir: m.DataDir, StagingID: id, Name: m.Name, PeerURL: m.PeerURL,
			ServedRevision: served, EtcdVersion: etcdtest.Version,
		}
		r, err := restore.Stage(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if r.SnapshotRevision != snapRev || r.Revision != served+restore.Margin {
			t.Fatalf("staged %+v, want snapshot revision %d and served %d + margin", r, snapRev, served)
		}
		if seen[r.ClusterID] || r.MemberID == before.MemberID {
			t.Fatalf("P1: cluster %x or member %x was used before", r.ClusterID, r.MemberID)
		}
		seen[r.ClusterID] = true
		if again, err := restore.Stage(ctx, p); err != nil || again != recorded(r) {
			t.Fatalf("staged again: %+v, %v; want the same as before %+v", again, err, r)
		}
		if err := datadir.Activate(m.DataDir, id); !errors.Is(err, datadir.ErrOccupied) {
			t.Fatalf("I1: activated over a member directory: %v", err)
		}
		m.Kill(t)
		e, err := datadir.Archive(m.DataDir, datadir.ArchiveInfo{
			Reason: "recovery", RecoveryID: id, At: time.Now(), Identity: before,
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := datadir.Activate(m.DataDir, id); err != nil {
				t.Fatal(err)
			}
		}
		m.Start(t)
		m.WaitHealthy(t)
		cli = m.Client(t)
		same(t, all(t, cli), want)

		resp, err := cli.Get(ctx, "any")
		if err != nil || resp.Header.Revision <= served || resp.Header.Revision < r.Revision {
			t.Fatalf("I15: revision %d, served %d, staged %d, %v", resp.Header.Revision, served, r.Revision, err)
		}
		if resp.Header.ClusterId != r.ClusterID || resp.Header.MemberId != r.MemberID {
			t.Fatalf("runs as %x/%x, staged %x/%x", resp.Header.ClusterId, resp.Header.MemberId, r.ClusterID, r.MemberID)
		}
		for _, old := range []int64{snapRev - 1, snapRev, served, r.Revision - 1} {
			watchIsCompacted(ctx, t, cli, old)
		}
		if _, err := cli.Put(ctx, "after", "v"); err != nil {
			t.Fatal(err)
		}
		// I1: what was set aside is still whole.
		old, err := datadir.Inspect(ctx, e.Path, datadir.InspectOptions{WALTail: true, WalkBackend: true})
		if err != nil || old.State != datadir.Present || old.IDs != before.IDs || old.LastIndex < before.LastIndex {
			t.Fatalf("archived: %+v, %v", old, err)
		}
		// Stage after activation still answers with what was done.
		if again, err := restore.Stage(ctx, p); err != nil || again != recorded(r) {
			t.Fatalf("staged after activation: %+v, %v", again, err)
		}
	}
	if out := m.LogTail(1000); strings.Contains(out, "panic") {
		t.Fatal("etcd panicked")
	}
}

func watchIsCompacted(ctx context.Context, t *testing.T, cli *clientv3.Client, rev int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range cli.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(rev)) {
		if errors.Is(resp.Err(), rpctypes.ErrCompacted) {
			return
		}
		if len(resp.Events) > 0 {
			t.Fatalf("P3: a watch from revision %d got %d old events", rev, len(resp.Events))
		}
	}
	t.Fatalf("a watch from revision %d ended without an answer", rev)
}

// TestRestoreOfAnEmptiedStore: no key lives, the revision does.
func TestRestoreOfAnEmptiedStore(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	m, ctx := c.Members[0], etcdtest.Context(t)
	cli := m.Client(t)
	fill(t, cli, "/a/", 100)
	del, err := cli.Delete(ctx, "/a/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Compact(ctx, del.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	snap := save(t, m)
	info, err := snapshot.Inspect(snap)
	if err != nil || info.Revision != del.Header.Revision {
		t.Fatalf("P15: %+v, %v; want revision %d", info, err, del.Header.Revision)
	}
	m.Kill(t)
	dir := filepath.Join(t.TempDir(), "new")
	r, err := restore.Stage(ctx, restore.Params{Snapshot: snap, DataDir: dir, StagingID: "x", Name: m.Name, PeerURL: m.PeerURL})
	if err != nil {
		t.Fatal(err)
	}
	if r.Revision != info.Revision+restore.Margin || r.Keys != 0 {
		t.Fatalf("%+v", r)
	}
	if err := datadir.Activate(dir, "x"); err != nil {
		t.Fatal(err)
	}
	m.DataDir = dir
	m.Start(t)
	m.WaitHealthy(t)
	resp, err := m.Client(t).Get(ctx, "a")
	if err != nil || resp.Header.Revision < r.Revision {
		t.Fatalf("%v, %v", resp, err)
	}
}

// TestRefusals: bad input is refused before anything is written (P13, I25).
func TestRefusals(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	m := c.Members[0]
	fill(t, m.Client(t), "/a/", 100)
	good := save(t, m)
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, data...)
	flipped[len(flipped)/2] ^= 1
	for _, row := range []struct {
		name    string
		content []byte
		change  func(*restore.Params)
		want    error
		says    string
	}{
		{"truncated", data[:len(data)-5000], nil, snapshot.ErrTruncated, ""},
		{"flipped bit", flipped, nil, snapshot.ErrHashMismatch, "another copy"},
		{"no snapshot", []byte(strings.Repeat("hello\n", 2000)), nil, snapshot.ErrNotSnapshot, ""},
		{"no hash", data[:len(data)-32], nil, snapshot.ErrNoHash, snapshot.SkipHashFlag},
		{"older etcd (I22)", data, func(p *restore.Params) { p.EtcdVersion = "3.6.9" }, restore.ErrTooNew, "3.7"},
		{"relative data dir", data, func(p *restore.Params) { p.DataDir = "x" }, nil, "absolute"},
		{"bad peer URL", data, func(p *restore.Params) { p.PeerURL = "10.0.0.1:2380" }, nil, "https://"},
		{"staging id leads elsewhere", data, func(p *restore.Params) { p.StagingID = "../x" }, nil, "valid name"},
		{"served revision out of any range", data, func(p *restore.Params) { p.ServedRevision = 1<<63 - 1 }, nil, "no room"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "s.db")
			if err := os.WriteFile(path, row.content, 0o600); err != nil {
				t.Fatal(err)
			}
			p := restore.Params{Snapshot: path, DataDir: filepath.Join(dir, "data"), StagingID: "x", Name: "n", PeerURL: "https://10.0.0.1:2380"}
			if row.change != nil {
				row.change(&p)
			}
			_, err := restore.Stage(etcdtest.Context(t), p)
			if err == nil || row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v, want %v with %q", err, row.want, row.says)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Fatalf("written before the refusal: %v, %v", left, err)
			}
		})
	}
	t.Run("no hash, accepted by name", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "s.db")
		if err := os.WriteFile(path, data[:len(data)-32], 0o600); err != nil {
			t.Fatal(err)
		}
		p := restore.Params{
			Snapshot: path, DataDir: filepath.Join(dir, "data"), StagingID: "x", Name: "n", PeerURL: "https://10.0.0.1:2380", SkipHashCheck: true,
		}
		a, err := restore.Stage(etcdtest.Context(t), p)
		if err != nil {
			t.Fatal(err)
		}
		// P1: the same everything, another cluster.
		p.StagingID = "y"
		b, err := restore.Stage(etcdtest.Context(t), p)
		if err != nil {
			t.Fatal(err)
		}
		if a.ClusterID == b.ClusterID || a.Token == b.Token {
			t.Fatalf("P1: %+v and %+v", a, b)
		}
		p.Name = "other"
		if _, err := restore.Stage(etcdtest.Context(t), p); !errors.Is(err, restore.ErrOtherParams) {
			t.Fatalf("staging id used for something else: %v", err)
		}
	})
}
