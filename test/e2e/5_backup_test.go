//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// made is what `ceo backup create -o json` and its siblings say.
type made struct {
	From     string       `json:"from"`
	Store    string       `json:"store"`
	Missing  []string     `json:"missing"`
	Manifest manifest     `json:"manifest"`
	Backup   listedBackup `json:"backup"`
}

type manifest struct {
	ID       string `json:"id"`
	ReadBack string `json:"readBack"`
	Database struct {
		Revision int64 `json:"revision"`
		LiveKeys int64 `json:"liveKeys"`
	} `json:"database"`
	Resources struct {
		Files []string `json:"files"`
	} `json:"resources"`
}

type listedBackup struct {
	ID       string           `json:"id"`
	Problem  string           `json:"problem"`
	Manifest manifest         `json:"manifest"`
	Proof    *json.RawMessage `json:"proof"`
}

// backupVerb runs one on a node and reads its JSON.
func backupVerb(ctx context.Context, t *testing.T, node string, into any, args ...string) {
	t.Helper()
	res, err := lab.Ceo(ctx, node, append(append([]string{"backup"}, args...), "-o", "json")...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := json.Unmarshal([]byte(res.Out), into); err != nil {
		t.Fatalf("ceo backup %s: %v: %s", args[0], err, res.Out)
	}
}

// configureBackups gives every node the same backup.yaml and the key to its backups (P29).
func configureBackups(ctx context.Context, t *testing.T, s *harness.ObjectStore) {
	t.Helper()
	const key = "/var/lib/ceo/backup.key"
	_, _ = lab.On(ctx, "cp-1", "rm", "-f", key)
	res, err := lab.Ceo(ctx, "cp-1", "backup", "key", key)
	must(t, err)
	secret, err := lab.On(ctx, "cp-1", "cat", key)
	must(t, err)
	config := fmt.Sprintf("location: %s\ncredentials:\n  accessKeyID: %s\n  secretAccessKey: %s\nrecipients: [%s]\nidentityFile: %s\nretention:\n  last: 1\n",
		s.URL, s.Access, s.Secret, strings.TrimSpace(res.Out), key)
	for _, n := range nodes {
		_, err := lab.On(ctx, n, "sh", "-c", fmt.Sprintf("umask 077; printf %%s '%s' > %s; printf %%s '%s' > /var/lib/ceo/backup.yaml", secret.Out, key, config))
		must(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), soon)
			defer cancel()
			_, _ = lab.On(ctx, n, "rm", "-f", "/var/lib/ceo/backup.yaml", key)
		})
	}
}

// leader's node, by etcd's own tool.
func leader(ctx context.Context, t *testing.T) string {
	t.Helper()
	for _, n := range nodes {
		e, err := lab.Endpoint(ctx, n)
		must(t, err)
		if e.Leader == e.MemberID {
			return n
		}
	}
	t.Fatal("no node's member leads")
	return ""
}

// Backups in an object store that outlives the control plane: made of a follower under load, proven, found again with the
// API dead and used for a recovery by name (P28, P29, I24).
func Test5Backups(t *testing.T) {
	ctx := testContext(t, 20*time.Minute)
	whole(ctx, t)
	s3, err := lab.StartObjectStore(ctx)
	must(t, err)
	t.Cleanup(func() { _ = s3.Stop() })
	configureBackups(ctx, t, s3)

	acks := wrote(ctx, t, "backup-a", 100)
	w := writer(ctx, t, "backup-meanwhile")
	must(t, w.UntilAcked(ctx, 10, soon))
	var first made
	backupVerb(ctx, t, "cp-1", &first, "create")
	must(t, w.Stop())
	meanwhile, err := w.Acks()
	must(t, err)
	acks = append(acks, meanwhile...)
	t.Logf("backup %s of %s at revision %d", first.Manifest.ID, first.From, first.Manifest.Database.Revision)
	if at := leader(ctx, t); first.From == at {
		t.Errorf("taken of %s, the leader", at)
	}
	if first.Manifest.ReadBack != "decrypted and verified" {
		t.Errorf("read back: %q (I17)", first.Manifest.ReadBack)
	}
	files := strings.Join(first.Manifest.Resources.Files, " ")
	for _, want := range []string{"/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/manifests/etcd.yaml", "/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/sa.key", "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/admin.conf", "kubeadm-config.yaml"} {
		if !strings.Contains(files, want) {
			t.Errorf("%s is not in it: %s", want, files)
		}
	}
	t.Run("proven with this node's own etcd", func(t *testing.T) {
		var proven made
		backupVerb(ctx, t, "cp-1", &proven, "prove", "latest")
		if proven.Backup.Proof == nil {
			t.Fatalf("no proof: %+v", proven)
		}
	})
	acks = append(acks, wrote(ctx, t, "backup-b", 30)...)
	var second made
	t.Run("another node's agent makes one too", func(t *testing.T) {
		backupVerb(ctx, t, "cp-1", &second, "create", "--agent", "10.78.0.12")
	})
	acks = append(acks, wrote(ctx, t, "backup-c", 30)...)
	t.Run("every node lists both", func(t *testing.T) {
		for _, n := range nodes {
			var l struct {
				Entries []listedBackup `json:"backups"`
			}
			backupVerb(ctx, t, n, &l, "list")
			if len(l.Entries) != 2 || l.Entries[0].ID != second.Manifest.ID || l.Entries[0].Proof != nil || l.Entries[1].ID != first.Manifest.ID || l.Entries[1].Proof == nil {
				t.Fatalf("%s lists %+v", n, l.Entries)
			}
		}
	})
	t.Run("I18: retention of one keeps the newest and the newest proven", func(t *testing.T) {
		res, err := lab.Ceo(ctx, "cp-3", "backup", "prune")
		if err != nil {
			t.Fatalf("something is to be removed: %v\n%s", err, res.Out)
		}
	})
	t.Run("a backup becomes a data dir, with no agent asked", func(t *testing.T) {
		_, err := lab.Ceo(ctx, "cp-3", "restore", "latest", "--data-dir", "/var/lib/etcd-backup/look", "--name", "look")
		must(t, err)
		_, err = lab.On(ctx, "cp-3", "test", "-f", "/var/lib/etcd-backup/look/member/snap/db")
		must(t, err)
		_, err = lab.On(ctx, "cp-3", "rm", "-rf", "/var/lib/etcd-backup/look")
		must(t, err)
	})

	must(t, lab.Destroy(ctx, "cp-1", "cp-2", "cp-3"))
	_, _ = lab.On(ctx, "cp-1", "rm", "-f", snapshotPath)
	t.Run("the plan knows the catalogue with the API dead", func(t *testing.T) {
		res, err := lab.Ceo(ctx, "cp-1", "recover", "--plan")
		if err == nil || res.Code != 2 || !strings.Contains(res.Out, second.Manifest.ID) {
			t.Fatalf("exit %d: %s%s", res.Code, res.Out, res.Err)
		}
	})
	t.Run("a backup that is not there is named", func(t *testing.T) {
		res, err := lab.Ceo(ctx, "cp-1", append(append([]string{"recover"}, harness.Consent("unreachable-quorum")...), "--from", "20200101t000000z-ffff")...)
		if err == nil || !strings.Contains(res.Out+res.Err, "20200101t000000z-ffff") {
			t.Fatalf("exit %d: %s%s", res.Code, res.Out, res.Err)
		}
	})
	res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("unreachable-quorum"), "--from", "latest-proven")...)
	must(t, err)
	t.Log(res.Out + res.Err)
	b := harness.Backup{Revision: first.Manifest.Database.Revision}
	recovered(ctx, t, acks, b)
	joined(ctx, t)
	recovered(ctx, t, acks, b)

	t.Run("a store that is gone is an error, and hides no local snapshot from a plan", func(t *testing.T) {
		_, err := lab.Save(ctx, "cp-1", snapshotPath)
		must(t, err)
		must(t, s3.Stop())
		res, err := lab.Ceo(ctx, "cp-1", "backup", "list")
		var bad *harness.CmdError
		if !errors.As(err, &bad) || res.Code != 1 || strings.Contains(res.Out+res.Err, s3.Secret) {
			t.Fatalf("exit %d: %s%s", res.Code, res.Out, res.Err)
		}
		res, _ = lab.Ceo(ctx, "cp-1", "recover", "--plan")
		if !strings.Contains(res.Out, snapshotPath) {
			t.Fatalf("the local snapshot is not a source:\n%s%s", res.Out, res.Err)
		}
	})
}
