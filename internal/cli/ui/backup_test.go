package ui

import (
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
)

func aBackup(id string, ago time.Duration, proven bool) backup.Entry {
	m := backup.Manifest{
		FormatVersion: backup.FormatVersion, ID: id, StartedAt: now.Add(-ago), FinishedAt: now.Add(-ago + 3*time.Second), CeoVersion: "v0.1.0",
		Cluster: backup.Cluster{
			Name: "prod", ClusterID: cluster, MemberID: id2, Member: "cp-2", Node: "cp-1", Endpoint: "https://10.0.0.12:2379", EtcdVersion: "3.7.3", KubernetesVersion: "v1.37.2",
			EncryptionKeys: []string{"aescbc/key1", "aescbc/key2"},
		},
		Database: backup.Database{
			Object: "database.zst.age", Size: 412_000_032, SHA256: strings.Repeat("1f0c5e5b", 8), Hash: strings.Repeat("2a", 32), StoredSize: 121_000_000, StoredSHA256: strings.Repeat("3b", 32),
			Revision: 918_221, CompactRevision: 917_000, TotalKeys: 61_422, LiveKeys: 40_211, Leases: 312, StorageVersion: "3.7",
		},
		Resources: &backup.Resources{
			Object: "resources.tar.zst.age", Size: 81_920, SHA256: strings.Repeat("4c", 32), StoredSize: 40_960, StoredSHA256: strings.Repeat("5d", 32),
			Files: []string{"/etc/kubernetes/admin.conf", "/etc/kubernetes/pki/ca.key"},
		},
		Recipients: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}, ReadBack: backup.Decrypted, Digest: strings.Repeat("6e", 32),
	}
	e := backup.Entry{ID: id, Manifest: m, At: m.StartedAt, Size: m.StoredSize() + 2_000}
	if proven {
		e.Proof = &backup.Proof{
			ManifestSHA256: m.Digest, At: now.Add(-6 * time.Hour), Node: "cp-3", EtcdVersion: "3.7.3", Revision: 918_221, Keys: 40_211, Hash: 0x8e9e05c5,
			RestoreTime: 612 * time.Millisecond, ServeTime: 1300 * time.Millisecond, Digest: strings.Repeat("7f", 32),
		}
	}
	return e
}

func databaseAlone(id string, ago time.Duration) backup.Entry {
	e := aBackup(id, ago, false)
	e.Manifest.Resources, e.Manifest.Recipients, e.Manifest.Cluster.EncryptionKeys, e.Manifest.Cluster.Name = nil, nil, nil, ""
	e.Manifest.Database.LiveKeys = -1
	return e
}

const s3 = "s3://dr/prod"

func listing() keep.Listing {
	return keep.Listing{
		Store: s3, At: now,
		Entries: []backup.Entry{
			{ID: "20261122t140500z-9d10", At: now.Add(-time.Minute), Problem: "the store has stopped answering", Unread: true},
			aBackup("20261122t140209z-4f1c", 4*time.Minute, false), aBackup("20261122t080209z-77aa", 6*time.Hour, true),
			{ID: "20261122t020209z-0b1e", At: now.Add(-12 * time.Hour), Problem: "the backup is damaged: database.zst has 7 bytes, 121000000 were written"},
			databaseAlone("20261119t140209z-c0de", 72*time.Hour),
		},
		Unfinished: []backup.Unfinished{{ID: "20261122t140559z-1111", At: now.Add(-time.Second), Size: 40_000_000}},
	}
}

func TestBackupList(t *testing.T) {
	l := listing()
	golden(t, "backup-list", BackupList(l, Style{}))
	golden(t, "backup-list.json", asJSON(t, l))
	golden(t, "backup-list-none", BackupList(keep.Listing{Store: "file:///var/lib/etcd-backup", Local: true, At: now}, Style{}))
	golden(t, "backup-list-unusable", BackupList(keep.Listing{Store: s3, At: now, Entries: l.Entries[:1]}, Style{}))
	golden(t, "backup-list-unproven", BackupList(keep.Listing{Store: s3, At: now, Entries: l.Entries[1:2]}, Style{}))
}

func TestBackup(t *testing.T) {
	whole, plain := aBackup("20261122t080209z-77aa", 6*time.Hour, true), databaseAlone("20261119t140209z-c0de", 72*time.Hour)
	golden(t, "backup-show", Backup(whole, s3, "", now, Style{}))
	golden(t, "backup-show.json", asJSON(t, whole))
	golden(t, "backup-show-database-alone", Backup(plain, "file:///var/lib/etcd-backup", "", now, Style{}))
	golden(t, "backup-created", Backup(aBackup("20261122t140209z-4f1c", 4*time.Second, false), s3, Made(whole.Manifest), now, Style{}))
	golden(t, "backup-created.json", asJSON(t, keep.Made{
		Manifest: aBackup("20261122t140209z-4f1c", 4*time.Second, false).Manifest, Store: s3, From: "cp-2", Why: "a healthy follower",
		Missing: []string{"/etc/kubernetes/super-admin.conf: no such file or directory"}, Cleared: []string{"20261101t000000z-dead"},
	}))
	keyless := aBackup("20261122t140209z-4f1c", 4*time.Second, false)
	keyless.Manifest.ReadBack = backup.StoredBytes
	golden(t, "backup-created-keyless", Backup(keyless, s3, Made(keyless.Manifest), now, Style{}))
	golden(t, "backup-verified", Backup(plain, s3, "read whole and verified", now, Style{}))
	golden(t, "backup-verified.json", asJSON(t, keep.Verified{Entry: plain, Store: s3}))
	golden(t, "backup-proven", Backup(whole, s3, "restored, served and compared", now, Style{}))
	golden(t, "backup-proven.json", asJSON(t, keep.Verified{Entry: whole, Store: s3}))
}

func TestPruned(t *testing.T) {
	l := listing()
	d := backup.Retain(backup.Catalogue{Entries: l.Entries, Unfinished: l.Unfinished}, backup.Policy{Last: 1, Hourly: 2}, now)
	golden(t, "backup-prune", Pruned(d, false, Style{}))
	golden(t, "backup-prune.json", asJSON(t, keep.Pruned{Decision: d, Store: s3}))
	golden(t, "backup-pruned", Pruned(d, true, Style{}))
	golden(t, "backup-prune-nothing", Pruned(backup.Decision{Keep: d.Keep[:1]}, false, Style{}))
}

func TestBackupsInStatus(t *testing.T) {
	l := listing()
	for name, v := range map[string]*BackupView{
		"status-backups":          BackupsOf(l),
		"status-backups-unproven": BackupsOf(keep.Listing{Store: s3, Entries: l.Entries[1:2]}),
		"status-backups-none":     BackupsOf(keep.Listing{Store: s3}),
		"status-backups-unusable": BackupsOf(keep.Listing{Store: s3, Entries: l.Entries[:1]}),
		"status-backups-error":    {Error: "list the backups: the store refuses access"},
	} {
		golden(t, name, strings.Join(backupLines(View{At: now, Backups: v}, Style{}), "\n")+"\n")
	}
	if backupLines(View{At: now}, Style{}) != nil {
		t.Error("a line on backups that were not asked for")
	}
}

func TestTransfer(t *testing.T) {
	for _, row := range []struct {
		done, total int64
		took        time.Duration
		want        string
	}{
		{0, 412_000_000, 0, "storing"},
		{100_000_000, 412_000_000, 300 * time.Millisecond, "storing: 100 MB of 412 MB"},
		{100_000_000, 412_000_000, 2 * time.Second, "storing: 100 MB of 412 MB, 50 MB/s, 6s left"},
		{412_000_000, 412_000_000, 8 * time.Second, "storing: 412 MB of 412 MB, 52 MB/s"},
		{100_000_000, 0, 2 * time.Second, "storing: 100 MB, 50 MB/s"},
		{1_000_000, 4_000_000_000, 10 * time.Second, "storing: 1 MB of 4.0 GB, 100 kB/s, 11h6m30s left"},
	} {
		if got := Transfer("storing", row.done, row.total, row.took); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}
