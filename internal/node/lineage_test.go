package node

import (
	"testing"

	"pgregory.net/rapid"
)

func gens(t *rapid.T, label string) Lineage {
	n := rapid.IntRange(0, 5).Draw(t, label)
	var l Lineage
	for e := range n {
		l = append(l, Generation{Epoch: int64(e), ClusterID: FormatID(uint64(e)*7 + 1)})
	}
	return l
}

// A merge never loses a generation and never moves the current epoch back (I4).
func TestMergeNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := gens(t, "a"), gens(t, "b")
		m, changed, err := a.Merge(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(m) != max(len(a), len(b)) || changed != (len(b) > len(a)) {
			t.Fatalf("%v merged with %v: %v changed=%v", a, b, m, changed)
		}
		again, changed, err := m.Merge(b)
		if err != nil || changed || len(again) != len(m) {
			t.Fatal("a merge is not idempotent")
		}
	})
}

func TestMergeRefusesTwoClustersOfOneEpoch(t *testing.T) {
	a := Lineage{{Epoch: 0, ClusterID: "a"}, {Epoch: 1, ClusterID: "b"}}
	b := Lineage{{Epoch: 0, ClusterID: "a"}, {Epoch: 1, ClusterID: "c"}}
	if got, changed, err := a.Merge(b); err == nil || changed || len(got) != 2 {
		t.Fatalf("I3: two recoveries of one epoch were merged: %v %v", got, err)
	}
}

func TestWithPeer(t *testing.T) {
	c := Config{Name: "cp-1"}
	c, changed := c.WithPeer(Peer{Name: "cp-1", Address: "10.0.0.1"})
	if changed {
		t.Fatal("a node became its own peer")
	}
	c, changed = c.WithPeer(Peer{Name: "cp-2", Address: "10.0.0.2", PeerURL: "https://10.0.0.2:2380"})
	if !changed || len(c.Peers) != 1 {
		t.Fatal("peer not added")
	}
	c, changed = c.WithPeer(Peer{Name: "cp-2", Address: "10.0.0.9"})
	if !changed || c.Peers[0].Address != "10.0.0.9" || c.Peers[0].PeerURL == "" {
		t.Fatalf("P20: a changed address must replace the old one: %+v", c.Peers)
	}
}
