//go:build integration

package datadir_test

import (
	"testing"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestLegacyEntries: what 3.5 has written, 3.6 starts with and 3.7 panics at; once 3.6 has written a snapshot of raft, 3.7
// starts with it as well. This says which is which without a start.
func TestLegacyEntries(t *testing.T) {
	count := func(dir string) int {
		t.Helper()
		n, err := datadir.LegacyEntries(etcdtest.Context(t), dir)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	e := etcdtest.Start(t, etcdtest.Options{Bin: etcdtest.OldBinDir(t, etcdtest.Version35)})
	m := e.Members[0]
	put := func(times int) {
		t.Helper()
		c := m.Client(t)
		for range times {
			if _, err := c.Put(etcdtest.Context(t), "k", "v"); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(3)
	if count(m.DataDir) == 0 {
		t.Error("3.5 runs, and no entry is of its form")
	}
	m.Stop(t)
	m.Bin = etcdtest.OldBinDir(t, etcdtest.Version36)
	m.Start(t, "--snapshot-count=50")
	m.WaitHealthy(t)
	before := count(m.DataDir)
	if before == 0 {
		t.Error("3.6 has written no snapshot, and what 3.5 has written is gone")
	}
	m.Stop(t)

	// 3.7 does not start with it, and does no harm.
	m.Bin = etcdtest.BinDir(t)
	m.Start(t)
	etcdtest.Eventually(t, "3.7 to end at an entry of 3.5", func() (bool, string) { return !m.Running(), "it runs" })
	m.Stop(t)
	m.Bin = etcdtest.OldBinDir(t, etcdtest.Version36)
	m.Start(t, "--snapshot-count=50")
	m.WaitHealthy(t)
	put(60)
	etcdtest.Eventually(t, "a snapshot of raft", func() (bool, string) { return count(m.DataDir) == 0, "entries of 3.5 are left" })
	m.Stop(t)

	m.Bin = etcdtest.BinDir(t)
	m.Start(t)
	m.WaitHealthy(t)
	if n := count(m.DataDir); n != 0 {
		t.Errorf("3.7 runs, and %d entries are said to be of 3.5", n)
	}
}
