//go:build integration

package restore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
)

// refuses starts an etcd and waits until it has ended by itself.
func refuses(t *testing.T, m *etcdtest.Member, dir string, args ...string) {
	t.Helper()
	before := top(t, dir)
	m.DataDir = dir
	m.Start(t, args...)
	etcdtest.Eventually(t, "etcd to refuse "+dir, func() (bool, string) { return !m.Running(), "it runs" })
	m.Kill(t)
	if after := top(t, dir); after != before {
		t.Fatalf("etcd left %s, before it was %s", after, before)
	}
}

// top lists a data dir, without what a restore that is under way builds in it.
func top(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(entries)
}

// TestEtcdRefusesAnUnfinishedRestore: both blockers keep a real etcd from beginning a new cluster, whatever flags it has (I2).
func TestEtcdRefusesAnUnfinishedRestore(t *testing.T) {
	p := offlineParams(t, threeMembers())
	data, err := os.ReadFile(p.Source.Path)
	if err != nil {
		t.Fatal(err)
	}
	m := etcdtest.NewMember(t, "n", "", nil)
	newCluster := "--initial-cluster=n=" + m.PeerURL
	ctx, cancel := context.WithCancel(t.Context())
	reached := make(chan struct{})
	p.Source = restore.Source{Label: "slow", Open: func(ctx context.Context) (io.ReadCloser, error) {
		return &stall{Reader: strings.NewReader(string(data[:30000])), reached: func() { close(reached) }, ctx: ctx}, nil
	}}
	ended := make(chan error, 1)
	go func() {
		_, err := restore.Offline(ctx, p)
		ended <- err
	}()
	<-reached
	t.Run("first blocker", func(t *testing.T) { refuses(t, m, p.DataDir, newCluster) })
	t.Run("first blocker, WAL elsewhere", func(t *testing.T) {
		refuses(t, m, p.DataDir, newCluster, "--wal-dir="+filepath.Join(t.TempDir(), "wal"))
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	t.Run("second blocker", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.MkdirAll(filepath.Join(dir, ".touch"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".touch", "ceo-restore"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, m, dir, newCluster)
	})
}

// TestOfflineServes: one member; three members, each restored on its own with the same token; a WAL elsewhere.
func TestOfflineServes(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	rev := fill(t, c.Client(t), "/registry/", 200)
	want := all(t, c.Client(t))
	snap := save(t, c.Members[0])
	c.Members[0].Kill(t)
	for _, row := range []struct {
		name    string
		members int
		wal     bool
	}{{"one", 1, false}, {"three", 3, false}, {"wal elsewhere", 1, true}} {
		t.Run(row.name, func(t *testing.T) {
			base := t.TempDir()
			var members []*etcdtest.Member
			var initial []string
			for i := range row.members {
				m := etcdtest.NewMember(t, fmt.Sprintf("r%d", i), filepath.Join(base, fmt.Sprintf("r%d", i)), nil)
				if row.wal {
					m.Args = []string{"--wal-dir=" + filepath.Join(base, "wal")}
				}
				members = append(members, m)
				initial = append(initial, m.Name+"="+m.PeerURL)
			}
			clusters := map[uint64]bool{}
			for _, m := range members {
				p := restore.OfflineParams{
					Source: restore.Source{Path: snap}, DataDir: m.DataDir, Name: m.Name,
					InitialCluster: strings.Join(initial, ","), Token: "t-" + row.name,
				}
				if row.wal {
					p.WALDir = filepath.Join(base, "wal")
				}
				r, err := restore.Offline(t.Context(), p)
				if err != nil || r.SnapshotRevision != rev || r.Revision != rev+restore.Margin {
					t.Fatalf("%+v, %v", r, err)
				}
				clusters[r.ClusterID] = true
			}
			if len(clusters) != 1 {
				t.Fatalf("members of %d clusters", len(clusters))
			}
			for _, m := range members {
				m.Start(t)
			}
			for _, m := range members {
				m.WaitHealthy(t)
				same(t, all(t, m.Client(t)), want)
			}
			cli := members[0].Client(t)
			if _, err := cli.Put(etcdtest.Context(t), "after", "v"); err != nil {
				t.Fatal(err)
			}
			list, err := cli.MemberList(etcdtest.Context(t))
			if err != nil || len(list.Members) != row.members {
				t.Fatalf("%v, %v", list, err)
			}
			if out := members[0].LogTail(1000); strings.Contains(out, "panic") {
				t.Fatal("etcd panicked")
			}
			for _, m := range members {
				m.Kill(t)
			}
			// A run that was killed after its last step, asked again when etcd has run: nothing is claimed to be restored now.
			_, err = restore.Offline(t.Context(), restore.OfflineParams{Source: restore.Source{Path: snap}, DataDir: members[0].DataDir})
			if err == nil || !strings.Contains(err.Error(), datadir.ErrOccupied.Error()) {
				t.Fatal(err)
			}
		})
	}
}
