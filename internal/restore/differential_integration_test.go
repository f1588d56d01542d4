//go:build integration

package restore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

// TestSameAsEtcdutl: of random stores, with and without a bump, what is made is what etcd's own tool makes: the same
// keys and values in every bucket, the same WAL and snapshot file, byte by byte; and an etcd that runs on the one says
// in all that can be asked what one says that runs on the other. The files of a member of three are compared too.
// CEO_RESTORE_SEED repeats a round.
func TestSameAsEtcdutl(t *testing.T) {
	// Its two last bits say whether there are users and an alarm.
	base := rand.Uint64() &^ 3
	seeds := []uint64{base, base | 1, base | 2, base | 3}
	if s := os.Getenv("CEO_RESTORE_SEED"); s != "" {
		var n uint64
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{n}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			ctx := etcdtest.Context(t)
			c := etcdtest.Start(t, etcdtest.Options{})
			m := c.Members[0]
			w := &workload{rnd: rand.New(rand.NewPCG(seed, 0)), cli: m.Client(t), withAuth: seed&1 != 0, withAlarm: seed&2 != 0}
			w.run(ctx, t, m, 150)
			snap := w.download(ctx, t)
			m.Kill(t)
			for _, bump := range []uint64{0, 1000} {
				t.Run(fmt.Sprint("bump ", bump), func(t *testing.T) {
					ours, theirs, r := both(t, m, snap, "", bump)
					a, b := serve(t, m, ours, w.auth, r), serve(t, m, theirs, w.auth, r)
					for what := range a {
						if !reflect.DeepEqual(a[what], b[what]) {
							t.Errorf("%s: ours %v\netcdutl's %v", what, a[what], b[what])
						}
					}
					both(t, m, snap, m.Name+"="+m.PeerURL+",b=http://10.0.0.2:2380,c=http://10.0.0.3:2380", bump)
				})
			}
		})
	}
}

// both restores with ceo and with etcd's own code, and compares the files. initial names all members; empty: m alone.
func both(t *testing.T, m *etcdtest.Member, snap, initial string, bump uint64) (ours, theirs string, r restore.Result) {
	t.Helper()
	dir := t.TempDir()
	ours, theirs = filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	r, err := restore.Offline(t.Context(), restore.OfflineParams{
		Source: restore.Source{Path: snap}, DataDir: ours, Name: m.Name, PeerURLs: []string{m.PeerURL}, InitialCluster: initial, Token: "t", BumpRevision: &bump,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = library{}.Build(t.Context(), restore.Build{
		Source: restore.Source{Path: snap}, Dir: theirs,
		Membership: restore.Membership{Name: m.Name, PeerURLs: []string{m.PeerURL}, Initial: initial, Token: "t"},
		Revise: func(info snapshot.Info) (int64, error) {
			if bump == 0 {
				return 0, nil
			}
			return info.Revision + int64(bump), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	sameBuckets(t, datadir.BackendPath(ours), datadir.BackendPath(theirs))
	sameFiles(t, ours, theirs)
	return ours, theirs, r
}

// sameBuckets compares all that is in the two backends.
func sameBuckets(t *testing.T, ours, theirs string) {
	t.Helper()
	a, b := dump(t, ours), dump(t, theirs)
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			t.Errorf("%q: ours %x, etcdutl's %x (%v)", k, v, w, ok)
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			t.Errorf("%q is missing", k)
		}
	}
}

func sameFiles(t *testing.T, ours, theirs string) {
	t.Helper()
	a, b := tree(t, ours), tree(t, theirs)
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("ours: %v\netcdutl's: %v", a, b)
	}
	for _, name := range a {
		if !strings.HasSuffix(name, ".wal") && !strings.HasSuffix(name, ".snap") {
			continue
		}
		x, err := os.ReadFile(filepath.Join(ours, name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(theirs, name))
		if err != nil {
			t.Fatal(err)
		}
		same := bytes.Equal(x, y)
		if !same && strings.HasSuffix(name, ".snap") {
			same = sameSnap(t, filepath.Join(ours, name), filepath.Join(theirs, name))
		}
		if !same {
			t.Errorf("%s differs", name)
		}
	}
}

// sameSnap compares two snapshot files by their content. etcd writes the members in the order of a map, and numbers them
// so: with more than one, no two of its own files are the same.
func sameSnap(t *testing.T, ours, theirs string) bool {
	t.Helper()
	read := func(path string) (*raftpb.Snapshot, any) {
		s, err := snap.Read(zap.NewNop(), path)
		if err != nil {
			t.Fatal(err)
		}
		var members any
		if err := json.Unmarshal(s.Data, &members); err != nil {
			t.Fatal(err)
		}
		unnumbered(members)
		return s, members
	}
	a, members := read(ours)
	b, theirMembers := read(theirs)
	return reflect.DeepEqual(members, theirMembers) && proto.Equal(a.GetMetadata(), b.GetMetadata())
}

// unnumbered takes away what says in which order the nodes of etcd's old store were made: numbers, and its history.
func unnumbered(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "CreatedIndex")
		delete(v, "ModifiedIndex")
		delete(v, "WatcherHub")
		for _, w := range v {
			unnumbered(w)
		}
	case []any:
		for _, w := range v {
			unnumbered(w)
		}
	}
}

// serve runs an etcd on dir and asks it for everything.
func serve(t *testing.T, m *etcdtest.Member, dir string, auth bool, r restore.Result) map[string]any {
	t.Helper()
	m.DataDir = dir
	m.Start(t)
	defer m.Kill(t)
	ctx := etcdtest.Context(t)
	cli := client(t, m, auth)
	// Not its health: with an alarm it is not healthy.
	etcdtest.Eventually(t, m.Name+" to serve", func() (bool, string) {
		_, err := cli.Get(ctx, "x")
		return err == nil, fmt.Sprint(err)
	})
	said := map[string]any{}
	members, err := cli.MemberList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	said["members"] = fmt.Sprint(members.Header.ClusterId, members.Members)
	said["hashes"] = hashes(ctx, t, cli, m, r)
	said["leases"] = leases(ctx, t, cli)
	said["auth"] = users(ctx, t, cli)
	alarms, err := cli.AlarmList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	said["alarms"] = fmt.Sprint(alarms.Alarms)
	status, err := cli.Status(ctx, m.ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	said["status"] = fmt.Sprint(status.Header.Revision, status.StorageVersion, status.Version, status.Errors)
	kvs, err := cli.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	said["keys"] = fmt.Sprint(kvs.Kvs)
	return said
}

// hashes of every revision that is kept.
func hashes(ctx context.Context, t *testing.T, cli *clientv3.Client, m *etcdtest.Member, r restore.Result) map[int64]string {
	t.Helper()
	all := map[int64]string{}
	mc := pb.NewMaintenanceClient(cli.ActiveConnection())
	for rev := r.SnapshotRevision; rev <= r.Revision; rev++ {
		if rev > r.SnapshotRevision && rev < r.Revision {
			rev = r.Revision // between them nothing happened
		}
		h, err := mc.HashKV(ctx, &pb.HashKVRequest{Revision: rev})
		if err != nil {
			all[rev] = err.Error()
		} else {
			all[rev] = fmt.Sprint(h.Hash, h.CompactRevision, h.HashRevision)
		}
	}
	for rev := r.SnapshotRevision - 1; rev > 0; rev-- {
		h, err := mc.HashKV(ctx, &pb.HashKVRequest{Revision: rev})
		if err != nil {
			all[rev] = err.Error()
			break // compacted
		}
		all[rev] = fmt.Sprint(h.Hash, h.CompactRevision, h.HashRevision)
	}
	if got := all[r.Revision]; strings.Contains(got, "rpc error") {
		t.Fatalf("%s has no hash at revision %d: %s", m.DataDir, r.Revision, got)
	}
	return all
}

func leases(ctx context.Context, t *testing.T, cli *clientv3.Client) map[clientv3.LeaseID]string {
	t.Helper()
	list, err := cli.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := map[clientv3.LeaseID]string{}
	for _, l := range list.Leases {
		ttl, err := cli.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, k := range ttl.Keys {
			keys = append(keys, string(k))
		}
		sort.Strings(keys)
		all[l.ID] = fmt.Sprint(ttl.GrantedTTL, keys)
	}
	return all
}

func users(ctx context.Context, t *testing.T, cli *clientv3.Client) []string {
	t.Helper()
	status, err := cli.AuthStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{fmt.Sprint(status.Enabled, status.AuthRevision)}
	list, err := cli.UserList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list.Users {
		got, err := cli.UserGet(ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(u, got.Roles))
	}
	roles, err := cli.RoleList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roles.Roles {
		got, err := cli.RoleGet(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(r, got.Perm))
	}
	return all
}
