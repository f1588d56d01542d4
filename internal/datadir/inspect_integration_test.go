//go:build integration

package datadir_test

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

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestInspectBesideARunningEtcd looks at a member's data over and over while it takes writes without a pause: each
// look is consistent, none changes anything, and etcd does not notice.
func TestInspectBesideARunningEtcd(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Members: 3, TLS: true, Args: []string{"--snapshot-count=500"}})
	m := c.Members[0]
	pid := m.Pid()
	cli := c.Client(t)
	ctx, stop := context.WithCancel(etcdtest.Context(t))
	defer stop()
	written := make(chan int)
	failed := make(chan error, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if _, err := cli.Put(ctx, fmt.Sprintf("/registry/%d", n%500), strings.Repeat("x", 500)); err != nil && ctx.Err() == nil {
				failed <- err
				break
			}
		}
		written <- n
	}()

	status, err := m.Client(t).Status(ctx, m.ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	want := datadir.IDs{ClusterID: status.Header.ClusterId, MemberID: status.Header.MemberId}
	// A first commit of the backend: etcd puts it off for up to 100 ms.
	etcdtest.Eventually(t, "the membership to be in the backend", func() (bool, string) {
		id, err := datadir.Inspect(ctx, m.DataDir, datadir.InspectOptions{})
		return err == nil && len(id.Members) == 3, fmt.Sprintf("%+v, %v", id, err)
	})
	var last datadir.Identity
	looks, read := 0, 0
	for begin := time.Now(); looks < 300 || last.Revision < 1000; looks++ {
		if time.Since(begin) > etcdtest.WaitFor {
			t.Fatalf("after %d looks the revision is %d", looks, last.Revision)
		}
		id, err := datadir.Inspect(ctx, m.DataDir, datadir.InspectOptions{WALTail: true, WalkBackend: true})
		if err != nil || id.State != datadir.Present || id.IDs != want || !id.InUse || len(id.Strays) != 0 {
			t.Fatalf("look %d: %+v, %v", looks, id, err)
		}
		if id.CommitIndex < last.CommitIndex || id.LastIndex < last.LastIndex || id.Term < last.Term {
			t.Fatalf("look %d: went backwards: %+v after %+v", looks, id, last)
		}
		if !id.BackendRead {
			continue
		}
		read++
		if id.Revision < last.Revision || id.ConsistentIndex < last.ConsistentIndex || len(id.Members) != 3 {
			t.Fatalf("look %d: went backwards: %+v after %+v", looks, id, last)
		}
		last = id
	}
	stop()
	n := <-written
	select {
	case err := <-failed:
		t.Fatalf("a write failed: %v", err)
	default:
	}
	if !m.Running() || m.Pid() != pid {
		t.Fatal("etcd was disturbed")
	}
	t.Logf("%d looks beside %d writes, %d with the backend; revision %d", looks, n, read, last.Revision)
	if read < looks/2 {
		t.Fatalf("the backend was read in %d of %d looks", read, looks)
	}

	// Killed under load, the data says the same and at least as much.
	m.Kill(t)
	id, err := datadir.Inspect(t.Context(), m.DataDir, datadir.InspectOptions{WALTail: true, WalkBackend: true})
	if err != nil || id.State != datadir.Present || id.IDs != want || id.InUse || !id.BackendRead || id.Revision < last.Revision || id.DBInUse == 0 {
		t.Fatalf("killed: %+v, %v", id, err)
	}
	before := tree(t, m.DataDir)
	for range 3 {
		if _, err := datadir.Inspect(t.Context(), m.DataDir, datadir.InspectOptions{WALTail: true, WalkBackend: true}); err != nil {
			t.Fatal(err)
		}
	}
	if after := tree(t, m.DataDir); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Fatalf("changed by looking:\n%s\n%s", before, after)
	}
	m.Start(t)
	m.WaitHealthy(t)
}

// TestInspectSeesMembershipChanges: a learner and a removed member, as the guard and the recovery need them, and that
// etcd starts beside what this project keeps in the data dir.
func TestInspectSeesMembershipChanges(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Members: 3})
	m, gone := c.Members[0], c.Members[2]
	// Asked of a member that stays: one that was removed takes a request and never answers it.
	cli, ctx := m.Client(t), etcdtest.Context(t)
	ids, err := datadir.ReadIDs(gone.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	// etcd allows a change once its members have known each other for five seconds.
	change := func(what string, try func(ctx context.Context) error) {
		t.Helper()
		etcdtest.Eventually(t, what, func() (bool, string) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			err := try(ctx)
			return err == nil, fmt.Sprint(err)
		})
	}
	change("the member to be removed", func(ctx context.Context) error {
		_, err := cli.MemberRemove(ctx, ids.MemberID)
		if errors.Is(err, rpctypes.ErrMemberNotFound) { // by a try whose answer was lost
			return nil
		}
		return err
	})
	var learner uint64
	change("the learner to be added", func(ctx context.Context) error {
		if _, err := cli.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:1"}); err != nil && !errors.Is(err, rpctypes.ErrPeerURLExist) {
			return err
		}
		list, err := cli.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, mem := range list.Members {
			if mem.IsLearner {
				learner = mem.ID
			}
		}
		return nil
	})
	etcdtest.Eventually(t, "the change in the backend", func() (bool, string) {
		id, err := datadir.Inspect(ctx, m.DataDir, datadir.InspectOptions{})
		seen := false
		for _, mem := range id.Members {
			seen = seen || mem.ID == learner && mem.IsLearner && mem.Name == ""
		}
		return err == nil && seen && len(id.Removed) == 1 && id.Removed[0] == ids.MemberID, fmt.Sprintf("%+v, %v", id, err)
	})
	gone.Kill(t)
	id, err := datadir.Inspect(ctx, gone.DataDir, datadir.InspectOptions{WALTail: true})
	if err != nil || id.State != datadir.Present || id.IDs != ids {
		t.Fatalf("%+v, %v", id, err)
	}
	e, err := datadir.Archive(gone.DataDir, datadir.ArchiveInfo{Reason: "removed", At: time.Now(), Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(e.Path, "member", "snap", "db")); err != nil {
		t.Fatal(err)
	}
	id, err = datadir.Inspect(ctx, gone.DataDir, datadir.InspectOptions{})
	if err != nil || id.State != datadir.None || len(id.Strays) != 0 {
		t.Fatalf("%+v, %v", id, err)
	}
}
