//go:build integration

package restore_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

// taken is a snapshot file, and what the etcd said that it was taken of.
type taken struct {
	path     string
	version  string // of etcd and of the etcdctl that wrote the file
	storage  string // storage version; empty before etcd 3.6
	revision int64
	hash     uint32 // HashKV at revision
	keys     map[string]string
	leases   map[clientv3.LeaseID]string
}

// take fills a store of that etcd and has its own etcdctl take the snapshot.
func take(t *testing.T, version, bin string) taken {
	t.Helper()
	c := etcdtest.Start(t, etcdtest.Options{Bin: bin})
	m, ctx := c.Members[0], etcdtest.Context(t)
	cli := m.Client(t)
	s := taken{version: version, path: filepath.Join(t.TempDir(), "snapshot.db")}
	etcdtest.Eventually(t, "etcd "+version+" to have a cluster version", func() (bool, string) {
		status, err := cli.Status(ctx, m.ClientURL)
		if err != nil {
			return false, err.Error()
		}
		if status.Version != version {
			t.Fatalf("etcd %s runs, want %s", status.Version, version)
		}
		s.storage = minor(status.StorageVersion)
		return s.storage != "" || minor(version) == "3.5", fmt.Sprint(status)
	})
	compact := fill(t, cli, "/registry/a/", 100)
	fill(t, cli, "/registry/b/", 50)
	if _, err := cli.Compact(ctx, compact, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	s.revision = fill(t, cli, "/registry/a/", 100)
	s.keys, s.leases, s.hash = all(t, cli), leases(ctx, t, cli), hashAt(t, cli, s.revision)
	if len(s.leases) != 3 {
		t.Fatalf("leases: %v", s.leases)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "etcdctl"), "--endpoints="+m.ClientURL, "snapshot", "save", s.path).CombinedOutput() //nolint:gosec // the test's own binary
	if err != nil {
		t.Fatalf("etcdctl %s snapshot save: %v\n%s", version, err, out)
	}
	m.Kill(t)
	info, err := snapshot.Verify(ctx, s.path, snapshot.VerifyOptions{})
	if err != nil || info.Revision != s.revision || info.CompactRevision != compact || info.StorageVersion != s.storage {
		t.Fatalf("%+v, %v; want revision %d, compacted to %d, storage version %q", info, err, s.revision, compact, s.storage)
	}
	return s
}

// minor gives major.minor of a version, empty of none.
func minor(version string) string {
	parts := strings.Split(version, ".")
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func hashAt(t *testing.T, cli *clientv3.Client, rev int64) uint32 {
	t.Helper()
	h, err := pb.NewMaintenanceClient(cli.ActiveConnection()).HashKV(etcdtest.Context(t), &pb.HashKVRequest{Revision: rev})
	if err != nil {
		t.Fatal(err)
	}
	return h.Hash
}

// TestSnapshotFilesOfOlderEtcds: what etcd 3.5 and 3.6 wrote is restored with and without a bump, the same etcd serves
// it, alone and as one of three, and so does the next minor version. From 3.5 to 3.7 etcd knows no step.
func TestSnapshotFilesOfOlderEtcds(t *testing.T) {
	old35, old36 := etcdtest.OldBinDir(t, etcdtest.Version35), etcdtest.OldBinDir(t, etcdtest.Version36)
	type etcd struct{ version, bin string }
	of35, of36, of37 := etcd{etcdtest.Version35, old35}, etcd{etcdtest.Version36, old36}, etcd{etcdtest.Version, etcdtest.BinDir(t)}
	for _, row := range []struct {
		of     etcd
		serves []etcd
	}{
		{of35, []etcd{of35, of36}},
		{of36, []etcd{of36, of37}},
	} {
		t.Run("of "+row.of.version, func(t *testing.T) {
			s := take(t, row.of.version, row.of.bin)
			for _, on := range row.serves {
				t.Run("on "+on.version, func(t *testing.T) {
					t.Run("bumped", func(t *testing.T) { s.restored(t, on.version, on.bin, nil) })
					t.Run("as it was", func(t *testing.T) { s.restored(t, on.version, on.bin, new(uint64(0))) })
				})
			}
			t.Run("three members", func(t *testing.T) { s.threeMembers(t, row.of.bin) })
			if s.storage != "" {
				s.refusedFor(t, etcdtest.Version35)
			}
		})
	}
}

// restored for an etcd, which then runs on it.
func (s taken) restored(t *testing.T, version, bin string, bump *uint64) {
	t.Helper()
	ctx := etcdtest.Context(t)
	m := etcdtest.NewMember(t, "r", filepath.Join(t.TempDir(), "data"), nil)
	m.Bin = bin
	r, err := restore.Offline(ctx, restore.OfflineParams{
		Source: restore.Source{Path: s.path}, DataDir: m.DataDir, Name: m.Name, PeerURLs: []string{m.PeerURL},
		BumpRevision: bump, EtcdVersion: version,
	})
	want := s.revision
	if bump == nil {
		want += restore.Margin
	}
	if err != nil || r.SnapshotRevision != s.revision || r.Revision != want || r.Keys != int64(len(s.keys)) {
		t.Fatalf("%+v, %v; want revision %d of %d, %d keys", r, err, want, s.revision, len(s.keys))
	}
	// I22: the data became no newer; see TestDataOfANewerEtcdIsRefused for what would come of that.
	id, err := datadir.Inspect(ctx, m.DataDir, datadir.InspectOptions{})
	if err != nil || id.StorageVersion != s.storage || minor(id.ClusterVersion) != minor(s.version) {
		t.Fatalf("I22: %+v, %v; want storage version %q, cluster version %s", id, err, s.storage, s.version)
	}
	m.Start(t)
	m.WaitHealthy(t)
	cli := m.Client(t)
	status, err := cli.Status(ctx, m.ClientURL)
	if err != nil || status.Version != version || status.Header.Revision != want || status.Header.ClusterId != r.ClusterID || status.Header.MemberId != r.MemberID {
		t.Fatalf("%v, %v; want etcd %s, revision %d, member %x of cluster %x", status, err, version, want, r.MemberID, r.ClusterID)
	}
	if bump == nil {
		watchIsCompacted(ctx, t, cli, s.revision) // P3
	} else if hash := hashAt(t, cli, s.revision); hash != s.hash {
		t.Errorf("hash at revision %d is %d, etcd %s had %d", s.revision, hash, s.version, s.hash)
	}
	if got := leases(ctx, t, cli); !reflect.DeepEqual(got, s.leases) {
		t.Errorf("leases %v, want %v", got, s.leases)
	}
	same(t, all(t, cli), s.keys)
	put, err := cli.Put(ctx, "after", "v")
	if err != nil || put.Header.Revision != want+1 {
		t.Fatalf("%v, %v; want revision %d", put, err, want+1)
	}
	// Once more: now it replays a log that this etcd went on with.
	m.Kill(t)
	m.Start(t)
	m.WaitHealthy(t)
	got := all(t, m.Client(t))
	if _, ok := got["after"]; !ok {
		t.Error("the write is gone")
	}
	delete(got, "after")
	same(t, got, s.keys)
	if out := m.LogTail(10000); strings.Contains(out, "panic") {
		t.Error("etcd panicked")
	}
	m.Kill(t)
}

// threeMembers, each restored on its own, become one cluster.
func (s taken) threeMembers(t *testing.T, bin string) {
	t.Helper()
	ctx := etcdtest.Context(t)
	var members []*etcdtest.Member
	var initial []string
	for _, name := range []string{"a", "b", "c"} {
		m := etcdtest.NewMember(t, name, filepath.Join(t.TempDir(), "data"), nil)
		m.Bin = bin
		members, initial = append(members, m), append(initial, name+"="+m.PeerURL)
	}
	for _, m := range members {
		_, err := restore.Offline(ctx, restore.OfflineParams{
			Source: restore.Source{Path: s.path}, DataDir: m.DataDir, Name: m.Name, InitialCluster: strings.Join(initial, ","),
			Token: "three", EtcdVersion: s.version,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range members {
		m.Start(t)
	}
	for _, m := range members {
		m.WaitHealthy(t)
		same(t, all(t, m.Client(t)), s.keys)
	}
	cli := members[0].Client(t)
	if _, err := cli.Put(ctx, "after", "v"); err != nil {
		t.Fatal(err)
	}
	list, err := cli.MemberList(ctx)
	if err != nil || len(list.Members) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, m := range members {
		m.Kill(t)
	}
}

// refusedFor an older etcd: both versions are named and nothing is made (I22, P30).
func (s taken) refusedFor(t *testing.T, version string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	_, err := restore.Offline(t.Context(), restore.OfflineParams{Source: restore.Source{Path: s.path}, DataDir: dir, EtcdVersion: version})
	if !errors.Is(err, restore.ErrTooNew) || !strings.Contains(err.Error(), "storage version is "+s.storage) || !strings.Contains(err.Error(), "etcd here is "+version) {
		t.Errorf("I22: data of %s for etcd %s: %v", s.version, version, err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made before the refusal: %v", err)
	}
}

// TestDataOfANewerEtcdIsRefused: I22, P30. Were it restored all the same, etcd 3.6 would end, and 3.5 would serve it
// without a word: there nobody else refuses.
func TestDataOfANewerEtcdIsRefused(t *testing.T) {
	s := take(t, etcdtest.Version, etcdtest.BinDir(t))
	for version, serves := range map[string]bool{etcdtest.Version35: true, etcdtest.Version36: false} {
		t.Run(version, func(t *testing.T) {
			s.refusedFor(t, version)
			m := etcdtest.NewMember(t, "r", filepath.Join(t.TempDir(), "data"), nil)
			m.Bin = etcdtest.OldBinDir(t, version)
			_, err := restore.Offline(t.Context(), restore.OfflineParams{
				Source: restore.Source{Path: s.path}, DataDir: m.DataDir, Name: m.Name, PeerURLs: []string{m.PeerURL},
			})
			if err != nil {
				t.Fatal(err)
			}
			if serves {
				m.Start(t)
				m.WaitHealthy(t)
				return
			}
			refuses(t, m, m.DataDir)
			if out := m.LogTail(5); !strings.Contains(out, "not supported") {
				t.Errorf("etcd %s ended for another reason:\n%s", version, out)
			}
		})
	}
}
