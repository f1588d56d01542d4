package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/store"
)

// TestRestoreFlags: a command for etcdutl snapshot restore is one for ceo restore; the names are those of etcdutl 3.7.
func TestRestoreFlags(t *testing.T) {
	c := newRestoreCommand()
	for _, name := range []string{
		"name", "data-dir", "wal-dir", "initial-cluster", "initial-cluster-token", "initial-advertise-peer-urls", "bump-revision", "mark-compacted", "skip-hash-check",
	} {
		if c.Flag(name) == nil {
			t.Errorf("there is no --%s", name)
		}
	}
}

// TestRestoreFromTheShell: as typed, of a file and of a backup; of a member among three, with a bump of its own.
func TestRestoreFromTheShell(t *testing.T) {
	dir := t.TempDir()
	data := etcdtest.Backend{Entries: etcdtest.Puts(2, 100, 100), ConsistentIndex: 9, Term: 2, StorageVersion: "3.7.0"}.Snapshot(t)
	file := filepath.Join(dir, "snapshot.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	location := "file://" + filepath.Join(dir, "store")
	s, err := store.Open(t.Context(), store.Config{URL: location})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := backup.Create(t.Context(), backup.CreateParams{Store: s, Config: backup.Config{Location: location}, Snapshot: bytes.NewReader(data), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	for _, source := range [][]string{{file}, {"latest", "--store", location}, {location + "/latest"}} {
		dataDir := filepath.Join(t.TempDir(), "data")
		var out bytes.Buffer
		root := newRootCommand("ceo")
		root.SetOut(&out)
		root.SetErr(&bytes.Buffer{})
		root.SetArgs(append([]string{
			"restore", "-o", "json", "--root", dir, "--data-dir", dataDir, "--name", "b", "--initial-cluster", "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380",
			"--initial-cluster-token", "t", "--initial-advertise-peer-urls", "http://10.0.0.2:2380", "--bump-revision", "500", "--mark-compacted",
		}, source...))
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("%v: %v", source, err)
		}
		var said struct {
			Revision  int64 `json:"revision"`
			Compacted bool  `json:"compacted"`
		}
		if err := json.Unmarshal(out.Bytes(), &said); err != nil || said.Revision != 101+500 || !said.Compacted {
			t.Errorf("%v: %v, %s", source, err, &out)
		}
		id, err := datadir.Inspect(t.Context(), dataDir, datadir.InspectOptions{WALTail: true, WalkBackend: true})
		if err != nil || id.State != datadir.Present || len(id.Members) != 2 || id.Revision != 601 || id.CompactRevision != 601 {
			t.Errorf("%v: %+v, %v", source, id, err)
		}
	}
}
