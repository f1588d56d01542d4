//go:build integration

package guard

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// One node's life beside a real cluster: empty, added, promoted, removed,
// wiped, given a foreign disk. Each time it comes back without a manual step on
// it; only the membership is changed.
func TestLifeOfAMember(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Members: 2})
	m := newMachine(t, "cp-9", c.Members...)
	now := clusterID(t, c.Members[0])
	m.record(t, now)
	m.put(t, c.Client(t), "key")
	cluster, err := client.Dial(c.Endpoints(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })

	m.guard(t)
	m.waits(t, NeedAdd)
	m.aliveNotReady(t)

	// Added: joins as a learner, with every member in --initial-cluster.
	add(t, cluster, m)
	s := m.until(t, "joined", func(s Status) bool { return s.State == Running })
	if s.Decision.Answer != Join || !slices.Contains(s.EtcdArgs, "--initial-cluster-state=existing") {
		t.Fatalf("%+v", s)
	}
	for _, p := range append([]*etcdtest.Member{m.Member}, c.Members...) {
		if !strings.Contains(strings.Join(s.EtcdArgs, " "), p.Name+"="+p.PeerURL) {
			t.Errorf("%s is not in %q", p.Name, s.EtcdArgs)
		}
	}
	promote(t, cluster, m)
	m.serving(t)

	// Restarted: starts as it is.
	m.end(t, syscall.SIGTERM)
	m.guard(t)
	if s := m.serving(t); s.Decision.Answer != Start || len(s.Decision.Saw.Answers) == 0 {
		t.Fatalf("%+v", s)
	}

	// Removed: etcd ends by itself, then the data is set aside (P2).
	remove(t, cluster, m)
	m.exitCode(t)
	m.guard(t)
	m.waits(t, NeedAdd)
	m.aliveNotReady(t)
	setAside(t, m, removed, now)
	add(t, cluster, m)
	promote(t, cluster, m)

	// Wiped: never under the old identity (P2, I5).
	m.serving(t)
	m.end(t, syscall.SIGKILL)
	if err := os.RemoveAll(datadir.MemberDir(m.DataDir)); err != nil {
		t.Fatal(err)
	}
	m.guard(t)
	m.waits(t, NeedReplace)
	m.aliveNotReady(t)
	remove(t, cluster, m)
	m.waits(t, NeedAdd)
	add(t, cluster, m)
	promote(t, cluster, m)
	m.serving(t)

	// A foreign disk (I5), set aside although this node is not even added.
	m.end(t, syscall.SIGKILL)
	other := foreignData(t, m)
	remove(t, cluster, m)
	m.guard(t)
	m.waits(t, NeedAdd)
	setAside(t, m, foreign, other)
	add(t, cluster, m)
	promote(t, cluster, m)
	m.serving(t)
	if !has(t, m.Client(t), "key") {
		t.Error("the data did not come")
	}

	// A list without a quorum is no reason not to start: with this member the
	// quorum comes back by itself.
	m.end(t, syscall.SIGTERM)
	c.Members[1].Kill(t)
	etcdtest.Eventually(t, "the quorum to be lost", func() (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a, err := client.Ask(ctx, c.Members[0].ClientURL, nil)
		return err == nil && !a.Linearizable, fmt.Sprint(err)
	})
	m.guard(t)
	m.serving(t)
	if !has(t, m.Client(t), "key") {
		t.Error("the data is gone")
	}

	// Nor is the silence of all others (I23).
	m.end(t, syscall.SIGTERM)
	c.Members[0].Kill(t)
	m.guard(t)
	s = m.until(t, "running", func(s Status) bool { return s.State == Running })
	if s.Decision.Answer != Start || len(s.Decision.Saw.Silent) != 2 {
		t.Fatalf("%+v", s)
	}
	m.aliveOnly(t)
}

func add(t *testing.T, c *client.Client, m *machine) {
	t.Helper()
	// etcd refuses until its members have been connected for 5 s.
	etcdtest.Eventually(t, m.Name+" to be added", func() (bool, string) {
		_, err := c.AddLearner(etcdtest.Context(t), m.PeerURL)
		return err == nil, fmt.Sprint(err)
	})
}

func find(t *testing.T, c *client.Client, m *machine) client.Member {
	t.Helper()
	l, err := c.Members(etcdtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(l.Members, func(x client.Member) bool { return slices.Contains(x.PeerURLs, m.PeerURL) })
	if i < 0 {
		t.Fatalf("%s is not listed", m.Name)
	}
	return l.Members[i]
}

// promote waits until etcd finds the learner in step.
func promote(t *testing.T, c *client.Client, m *machine) {
	t.Helper()
	etcdtest.Eventually(t, m.Name+" to be promoted", func() (bool, string) {
		x := find(t, c, m)
		if !x.Learner {
			return true, ""
		}
		if err := c.Promote(etcdtest.Context(t), x.ID); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
}

func remove(t *testing.T, c *client.Client, m *machine) {
	t.Helper()
	id := find(t, c, m).ID
	etcdtest.Eventually(t, m.Name+" to be removed", func() (bool, string) {
		err := c.Remove(etcdtest.Context(t), id)
		return err == nil, fmt.Sprint(err)
	})
}

// foreignData puts another cluster's data in place.
func foreignData(t *testing.T, m *machine) string {
	t.Helper()
	o := etcdtest.Start(t, etcdtest.Options{}).Members[0]
	id := clusterID(t, o)
	o.Stop(t)
	if err := os.RemoveAll(datadir.MemberDir(m.DataDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(datadir.MemberDir(m.DataDir), os.DirFS(datadir.MemberDir(o.DataDir))); err != nil {
		t.Fatal(err)
	}
	if _, err := datadir.ReadIDs(m.DataDir); err != nil {
		t.Fatal(filepath.Base(m.DataDir), err)
	}
	return id
}
