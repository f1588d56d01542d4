package backup_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/node"
)

const recipient = "age15gh5xhjktqsr5dd5rh3cz2r68njr68nnn63v2u57wkxjxnmvv9yq37k92k"

// The specification's place is taken where the node names none, its retention for that place alone, and credentials come
// from the node's own file in every case (P29, I18).
func TestNodeConfig(t *testing.T) {
	no := false
	s3 := "s3://backups/prod?region=us-east-1"
	placed := node.BackupSettings{Location: s3, Recipients: []string{recipient}, Resources: &no, Retention: []byte(`{"last":3}`)}
	const key = "credentials: {accessKeyID: id, secretAccessKey: hidden}\n"
	for _, tt := range []struct {
		name, file string
		settings   *node.BackupSettings
		location   string
		retention  backup.Policy
		placed     bool
		lacks      string
		recipients int
	}{
		{"nothing", "", nil, backup.DefaultLocation, backup.Policy{}, false, "", 0},
		{"placed alone", "", &placed, s3, backup.Policy{Last: 3}, true, "accessKeyID", 1},
		{"placed, with the node's credentials", key, &placed, s3, backup.Policy{Last: 3}, true, "", 1},
		{"the node's own retention", key + "retention: {daily: 7}\n", &placed, s3, backup.Policy{Daily: 7}, true, "", 1},
		{"I18 the node's own place: not with the retention of another", "location: file:///srv/b\n", &placed, "file:///srv/b", backup.Policy{}, false, "", 1},
		{"the node's own place is the same", "location: " + s3 + "\n" + key, &placed, s3, backup.Policy{Last: 3}, false, "", 1},
		{"azure without a key", "", &node.BackupSettings{Location: "azblob://c/p"}, "azblob://c/p", backup.Policy{}, true, "azureKey", 0},
		{"a folder needs none", "", &node.BackupSettings{Location: "file:///srv/b"}, "file:///srv/b", backup.Policy{}, true, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := node.Paths{Root: t.TempDir()}
			must(t, os.MkdirAll(p.State(), 0o700))
			if tt.file != "" {
				must(t, os.WriteFile(p.BackupConfig(), []byte(tt.file), 0o600))
			}
			if tt.settings != nil {
				must(t, node.SaveSettings(p, node.Settings{Backup: *tt.settings}))
				if st, err := os.Stat(p.Settings()); err != nil || st.Mode().Perm() != 0o600 {
					t.Fatalf("%v %v", st, err)
				}
			}
			c, err := backup.LoadNodeConfig(p)
			if err != nil {
				t.Fatal(err)
			}
			if c.Location != tt.location || c.Retention != tt.retention || c.Placed != tt.placed || len(c.Recipients) != tt.recipients {
				t.Errorf("%+v %+v", c, c.Retention)
			}
			if (c.Lacks == "") != (tt.lacks == "") || !strings.Contains(c.Lacks, tt.lacks) || c.Lacks != "" && !strings.Contains(c.Lacks, p.BackupConfig()) || strings.Contains(c.Lacks, "hidden") {
				t.Errorf("lacks: %s", c.Lacks)
			}
			if tt.settings == &placed && c.WithResources() {
				t.Error("resources: false is not taken over")
			}
		})
	}
	t.Run("settings that are damaged are no default", func(t *testing.T) {
		p := node.Paths{Root: t.TempDir()}
		must(t, os.MkdirAll(p.State(), 0o700))
		must(t, os.WriteFile(filepath.Join(p.State(), "settings.json"), []byte(`{"backup":`), 0o600))
		if _, err := backup.LoadNodeConfig(p); err == nil || !strings.Contains(err.Error(), "settings.json") {
			t.Error(err)
		}
	})
}

func TestCheckSettings(t *testing.T) {
	good := []node.BackupSettings{{}, {Location: "file:///srv/b", Recipients: []string{recipient}, Retention: []byte(`{"last":1}`)}}
	bad := []node.BackupSettings{
		{Location: "s3://key:secret@bucket"},
		{Location: "ftp://x"},
		{Location: "/srv/b"},
		{Recipients: []string{"age1x"}},
		{Location: "file:///srv/b", Retention: []byte(`{"lats":1}`)},
	}
	for i, s := range slices.Concat(good, bad) {
		if err := backup.CheckSettings(s); (err == nil) != (i < len(good)) || err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
