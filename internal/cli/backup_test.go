package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/store"
)

// shelf is a node with a store that backups can be put into.
func shelf(t *testing.T) (BackupOptions, func() backup.Manifest) {
	t.Helper()
	o := BackupOptions{Target: Target{Paths: node.Paths{Root: t.TempDir()}}, Format: Text}
	s, err := store.Open(t.Context(), store.Config{URL: "file://" + o.Target.Paths.Backups()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	data := etcdtest.Backend{Entries: etcdtest.Puts(2, 20, 100), Members: []backend.Member{{ID: 7, Name: "cp-1"}}}.Snapshot(t)
	hour := 0
	return o, func() backup.Manifest {
		hour++
		m, err := backup.Create(t.Context(), backup.CreateParams{
			Store: s, Snapshot: bytes.NewReader(data), Cluster: backup.Cluster{ClusterID: "abc"},
			Now: func() time.Time { return time.Now().Add(time.Duration(hour-10) * time.Hour) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

func streams2() (Streams, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return Streams{Out: &out, Err: &err, Name: "ceo"}, &out, &err
}

// What scripts rely on: data alone on stdout, and the exit codes.
func TestBackupVerbs(t *testing.T) {
	o, make1 := shelf(t)
	run := func(want int, verb func(Streams) error) string {
		t.Helper()
		s, out, _ := streams2()
		if err := verb(s); CodeOf(err) != want {
			t.Fatalf("exit code %d, want %d: %v", CodeOf(err), want, err)
		}
		return out.String()
	}
	if out := run(ExitNotHealthy, func(s Streams) error { return ListBackups(t.Context(), s, o) }); !strings.Contains(out, "ceo backup create") {
		t.Error(out)
	}
	first, second := make1(), make1()
	if out := run(ExitOK, func(s Streams) error { return ListBackups(t.Context(), s, o) }); strings.Index(out, second.ID) > strings.Index(out, first.ID) || !strings.Contains(out, first.ID) {
		t.Error(out)
	}
	o.Format = JSON
	var l keep.Listing
	if err := json.Unmarshal([]byte(run(ExitOK, func(s Streams) error { return ListBackups(t.Context(), s, o) })), &l); err != nil || len(l.Entries) != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	var v keep.Verified
	o.Name = backup.Latest
	if err := json.Unmarshal([]byte(run(ExitOK, func(s Streams) error { return VerifyBackup(t.Context(), s, o) })), &v); err != nil || v.Entry.ID != second.ID {
		t.Errorf("%+v, %v", v, err)
	}
	var e backup.Entry
	o.Name = first.ID
	if err := json.Unmarshal([]byte(run(ExitOK, func(s Streams) error { return ShowBackup(t.Context(), s, o) })), &e); err != nil || e.Manifest.Digest != first.Digest {
		t.Errorf("%+v, %v", e, err)
	}
	o.Name = "20010101"
	run(ExitFailed, func(s Streams) error { return ShowBackup(t.Context(), s, o) })
	o.Name, o.To = backup.Latest, filepath.Join(t.TempDir(), "s.db")
	run(ExitOK, func(s Streams) error { return FetchBackup(t.Context(), s, o) })
	if st, err := os.Stat(o.To); err != nil || st.Mode().Perm() != 0o600 || st.Size() != second.Database.Size {
		t.Errorf("%v, %v", st, err)
	}
	run(ExitFailed, func(s Streams) error { return FetchBackup(t.Context(), s, o) }) // nothing is overwritten

	// What would go is 2 until it is gone.
	if err := os.MkdirAll(o.Target.Paths.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Target.Paths.BackupConfig(), []byte("retention: {last: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Format = Text
	if out := run(ExitNotHealthy, func(s Streams) error { return PruneBackups(t.Context(), s, o) }); !strings.Contains(out, first.ID+"  would be removed") {
		t.Error(out)
	}
	o.Yes = true
	run(ExitOK, func(s Streams) error { return PruneBackups(t.Context(), s, o) })
	if out := run(ExitOK, func(s Streams) error { return PruneBackups(t.Context(), s, o) }); !strings.Contains(out, "nothing to remove") {
		t.Error(out)
	}
	if names := CompleteBackups(t.Context(), o); len(names) != 3 || names[2] != second.ID {
		t.Error(names)
	}
	// One that is damaged makes the catalogue unwell, and is named.
	if err := os.Truncate(filepath.Join(o.Target.Paths.Backups(), second.ID, second.Database.Object), 7); err != nil {
		t.Fatal(err)
	}
	if out := run(ExitNotHealthy, func(s Streams) error { return ListBackups(t.Context(), s, o) }); !strings.Contains(out, "has 7 bytes") {
		t.Error(out)
	}
	run(ExitFailed, func(s Streams) error { return VerifyBackup(t.Context(), s, o) })
}

// The secret half is in the file alone, which is root's and is never overwritten: it may be the only one.
func TestBackupKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.key")
	s, out, said := streams2()
	if err := MakeBackupKey(s, path); err != nil {
		t.Fatal(err)
	}
	recipient, err := age.ParseX25519Recipient(strings.TrimSpace(out.String()))
	if err != nil || strings.Contains(out.String()+said.String(), "AGE-SECRET-KEY") {
		t.Fatalf("%v: %s%s", err, out, said)
	}
	before, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(before, []byte(recipient.String())) {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatal(st, err)
	}
	if _, err := (backup.Config{IdentityFile: path}).Identities(); err != nil {
		t.Fatal(err)
	}
	if err := MakeBackupKey(s, path); CodeOf(err) != ExitRefused {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Fatal("overwritten", err)
	}
}

// Keys that would lie in another place for all to read are a refusal, not a failure.
func TestExposedKeysAreRefused(t *testing.T) {
	err := backup.MayStore(remote{}, backup.Config{}, true)
	if !errors.Is(err, backup.ErrExposed) {
		t.Fatal(err)
	}
}

type remote struct{ store.Store }

func (remote) Local() bool { return false }
func (remote) URL() string { return "s3://b" }
