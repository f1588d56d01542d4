package ui

import (
	"strings"
	"testing"
)

func restored() Restored {
	return Restored{
		Source: "/var/lib/etcd-backup/snapshot.db", SHA256: strings.Repeat("1f0c5e5b", 8), DataDir: "/var/lib/etcd",
		SnapshotRevision: 918221, Revision: 1000918221, Compacted: true, Keys: 40211, Bytes: 412_000_000,
		Name: "cp-1", PeerURLs: []string{"https://10.0.0.11:2380"}, InitialCluster: "cp-1=https://10.0.0.11:2380",
		Token: "ceo-" + strings.Repeat("5f3a", 8), ClusterID: cluster, MemberID: id1,
		Seconds: 0.8914, Parts: []Milestone{{"read, check and write", 0.6123}, {"rest of the check", 0.0002}, {"edit", 0.0711}, {"flush", 0.208}},
	}
}

func TestRestored(t *testing.T) {
	one := restored().Decide()
	golden(t, "restored", one.Text(Style{}))
	golden(t, "restored.json", asJSON(t, one))

	same := restored()
	same.Revision, same.Compacted, same.WALDir, same.Parts, same.Seconds = same.SnapshotRevision, false, "/wal/etcd", nil, 12.3456
	same.Keys = -1
	golden(t, "restored-no-bump", same.Decide().Text(Style{}))

	three := restored()
	three.InitialCluster = "cp-1=https://10.0.0.11:2380,cp-2=https://10.0.0.12:2380,cp-3=https://10.0.0.13:2380,cp-3=https://10.1.0.13:2380"
	three.Token, three.Source = "agreed", "s3://dr/prod/20261122t140209z-4f1c"
	golden(t, "restored-three-members", three.Decide().Text(Style{}))
}
