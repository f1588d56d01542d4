//go:build integration

package restore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/restore"
)

// TestRestoredMemberAndItsOldPeersKeepApart: a member is restored on a node whose old peers still run and still know
// its address, the worst case of a recovery that did not reach everyone (P1, P11, I3). Both serve, neither takes the
// other for its own. The node had been removed before (P18), and gets another name (P20).
func TestRestoredMemberAndItsOldPeersKeepApart(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Members: 3, TLS: true})
	ctx := etcdtest.Context(t)
	m := c.Members[2]
	fill(t, c.Client(t), "/registry/", 100)
	want := all(t, c.Client(t))
	snap := save(t, m)

	m.Kill(t)
	before, err := datadir.Inspect(ctx, m.DataDir, datadir.InspectOptions{WALTail: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := datadir.Archive(m.DataDir, datadir.ArchiveInfo{Reason: "recovery", RecoveryID: "r1", At: time.Now(), Identity: before}); err != nil {
		t.Fatal(err)
	}
	m.Name = "new-host"
	r, err := restore.Stage(ctx, restore.Params{
		Snapshot: snap, DataDir: m.DataDir, StagingID: "r1", Name: m.Name, PeerURL: m.PeerURL, ServedRevision: before.Revision,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := datadir.Activate(m.DataDir, "r1"); err != nil {
		t.Fatal(err)
	}
	m.Start(t)
	m.WaitHealthy(t)
	cli := m.Client(t)
	same(t, all(t, cli), want)

	// Writes on both sides, for long enough that the old peers have tried to reach the address again.
	oldCli := c.Members[0].Client(t)
	etcdtest.Eventually(t, "the old cluster to have a leader again", func() (bool, string) {
		_, err := oldCli.Put(ctx, "old/0", "v")
		return err == nil, fmt.Sprint(err)
	})
	for i := range 20 {
		if _, err := oldCli.Put(ctx, fmt.Sprintf("old/%d", i), "v"); err != nil {
			t.Fatalf("the old cluster (two of three) stopped serving: %v", err)
		}
		if _, err := cli.Put(ctx, fmt.Sprintf("new/%d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	etcdtest.Eventually(t, "an old peer to have been refused", func() (bool, string) {
		log := c.Members[0].LogTail(4000) + c.Members[1].LogTail(4000)
		return strings.Contains(log, "cluster ID mismatch"), "no word of it in the old members' logs"
	})
	for i := range 20 {
		for _, row := range []struct {
			side string
			has  int64
			key  string
		}{{"new", 1, "new"}, {"new", 0, "old"}, {"old", 1, "old"}, {"old", 0, "new"}} {
			from := cli
			if row.side == "old" {
				from = oldCli
			}
			resp, err := from.Get(ctx, fmt.Sprintf("%s/%d", row.key, i))
			if err != nil || resp.Count != row.has {
				t.Fatalf("I3: the %s side has %d of %s/%d, %v", row.side, resp.Count, row.key, i, err)
			}
		}
	}
	members, err := cli.MemberList(ctx)
	if err != nil || len(members.Members) != 1 || members.Members[0].ID != r.MemberID || members.Members[0].Name != "new-host" {
		t.Fatalf("%v, %v", members, err)
	}
	if members, err = oldCli.MemberList(ctx); err != nil || len(members.Members) != 3 || members.Header.ClusterId == r.ClusterID {
		t.Fatalf("%v, %v", members, err)
	}
}
