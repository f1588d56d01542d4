//go:build integration

package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/snapshot"
	"clusteretcd.io/ceo/internal/store"
)

// fixture is a snapshot of a real etcd, and what that etcd served.
type fixture struct {
	snapshot string
	size     int64
	revision int64
	content  string // digest of all that a client sees
	keys     int
}

var theFixture = struct {
	sync.Mutex
	*fixture
}{}

// source makes the fixture once for all tests.
func source(t *testing.T) *fixture {
	t.Helper()
	theFixture.Lock()
	defer theFixture.Unlock()
	if theFixture.fixture != nil {
		return theFixture.fixture
	}
	c := etcdtest.Start(t, etcdtest.Options{})
	m := c.Members[0]
	cli := m.Client(t)
	fill(t, cli)
	fx := &fixture{snapshot: filepath.Join(scratch, "snapshot.db")}
	if err := os.RemoveAll(fx.snapshot); err != nil { // of a test that failed here
		t.Fatal(err)
	}
	fx.content, fx.keys = content(t, cli)
	info, err := snapshot.Save(etcdtest.Context(t), snapshot.Config{Endpoints: []string{m.ClientURL}}, fx.snapshot, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Kill(t)
	fx.size, fx.revision = info.Size, info.Revision
	t.Logf("snapshot: %d bytes, revision %d, %d keys", fx.size, fx.revision, fx.keys)
	theFixture.fixture = fx
	return fx
}

// backedUp makes a backup of the fixture, and gives its URL.
func backedUp(t *testing.T, fx *fixture) string {
	t.Helper()
	f, err := os.Open(fx.snapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	c := backup.Config{Location: "file://" + t.TempDir()}
	s, err := store.Open(t.Context(), store.Config{URL: c.Location})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	m, err := backup.Create(t.Context(), backup.CreateParams{Store: s, Config: c, Snapshot: f, SizeHint: fx.size, Now: time.Now, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Location + "/" + m.ID
}

// fill writes some MB of the shapes there are: several revisions of a key, deletes, a lease.
func fill(t *testing.T, cli *clientv3.Client) {
	t.Helper()
	ctx := etcdtest.Context(t)
	lease, err := cli.Grant(ctx, 3600)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string, o ...clientv3.OpOption) {
		if _, err := cli.Put(ctx, key, value, o...); err != nil {
			t.Fatal(err)
		}
	}
	put("/registry/leased", "v", clientv3.WithLease(lease.ID))
	for round := range 3 {
		for i := range 40 {
			put(fmt.Sprintf("/registry/large/%03d", i), strings.Repeat(fmt.Sprintf("%02d%03d ", round, i), 100<<10/6))
		}
		for i := range 100 {
			put(fmt.Sprintf("/registry/small/%03d", i), fmt.Sprintf("%d of round %d", i, round))
		}
		if _, err := cli.Delete(ctx, fmt.Sprintf("/registry/small/%d", round), clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
	}
}

// content is what a client sees, revisions and leases included.
func content(t testing.TB, cli *clientv3.Client) (digest string, keys int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), etcdtest.WaitFor)
	defer cancel()
	resp, err := cli.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, kv := range resp.Kvs {
		_, _ = fmt.Fprintf(h, "%q %q %d %d %d %d\n", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
	}
	return hex.EncodeToString(h.Sum(nil)), len(resp.Kvs)
}
