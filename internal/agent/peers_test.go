package agent

import (
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
)

// TestPeerAtAnotherAddress: a peer's own word of where it is counts more than the membership, which has the old address
// until the operator has seen the new one; once the peer is silent, the membership counts (P20).
func TestPeerAtAnotherAddress(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	if err := os.MkdirAll(p.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	c := node.Config{
		Name: "cp-1", Address: "10.0.0.1", PeerURL: "https://10.0.0.1:2380", ClientURL: "https://10.0.0.1:2379", DataDir: "/var/lib/etcd",
		Peers: []node.Peer{{Name: "cp-2", Address: "10.0.0.2", PeerURL: "https://10.0.0.2:2380", ClientURL: "https://10.0.0.2:2379"}},
	}
	a := &Agent{paths: p, log: slog.New(slog.NewTextHandler(io.Discard, nil)), config: c, heard: map[string]time.Time{}, started: time.Now()}
	a.recover.agent = a
	st := &agentpb.Etcd{MembersLinearizable: true, ClusterId: "1", Members: []*agentpb.Member{
		{Name: "cp-1", PeerUrls: []string{"https://10.0.0.1:2380"}}, {Name: "cp-2", PeerUrls: []string{"https://10.0.0.2:2380"}},
	}}
	_, err := a.Identity(t.Context(), &agentpb.IdentityRequest{Caller: &agentpb.Peer{
		Name: "cp-2", Address: "10.0.0.9", PeerUrl: "https://10.0.0.9:2380", ClientUrl: "https://10.0.0.9:2379",
	}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(want string) {
		t.Helper()
		if err := a.learnMembers(st); err != nil {
			t.Fatal(err)
		}
		if got := a.Config().Peers; len(got) != 1 || got[0].Address != want {
			t.Errorf("%+v, want it at %s", got, want)
		}
	}
	at("10.0.0.9")
	a.heard["cp-2"] = time.Now().Add(-2 * goneAfter)
	at("10.0.0.2")
}

// TestToldWhichClusterItIs: an agent that ran before there was a cluster, as on the first node of `ceo render`, takes the
// lineage from the installation on its node, keeps what it knows itself, and refuses another cluster of the same epoch (I3).
func TestToldWhichClusterItIs(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	if err := os.MkdirAll(p.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	c := node.Config{
		Name: "cp-1", Address: "10.0.0.1", PeerURL: "https://10.0.0.1:2380", ClientURL: "https://10.0.0.1:2379", DataDir: "/var/lib/etcd", EtcdVersion: "3.7.3",
	}
	a := &Agent{paths: p, log: slog.New(slog.NewTextHandler(io.Discard, nil)), config: c, heard: map[string]time.Time{}, started: time.Now()}
	a.recover.agent = a
	tell := func(cluster string) error {
		_, err := a.Identity(t.Context(), &agentpb.IdentityRequest{Lineage: []*agentpb.Generation{{ClusterId: cluster}}})
		return err
	}
	if err := tell("c1"); err != nil {
		t.Fatal(err)
	}
	if err := tell("c2"); err == nil {
		t.Error("another cluster was taken for the same epoch")
	}
	saved, err := node.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []node.Config{a.Config(), saved} {
		if g, ok := got.Lineage.Current(); !ok || g.ClusterID != "c1" || len(got.Peers) != 0 || got.EtcdVersion != "3.7.3" {
			t.Errorf("%+v", got)
		}
	}
}
