package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/durable"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.json")
	for _, row := range []struct {
		name, data string
		perm       fs.FileMode
	}{
		{"new", "first", 0o600},
		{"replaced, other mode", "second, longer", 0o644},
		{"replaced by nothing", "", 0o600},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := durable.WriteFile(path, []byte(row.data), row.perm); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != row.data {
				t.Fatalf("read %q, %v", got, err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != row.perm {
				t.Fatalf("mode %v, %v", info.Mode(), err)
			}
			onlyEntry(t, dir, "node.json")
		})
	}
}

func TestWriteFileLeavesTheOldOneWhenItFails(t *testing.T) {
	dir := t.TempDir()
	// A directory in the target's place makes the last step, the rename, fail.
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("data"), 0o600); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("want an error that names %s, got %v", path, err)
	}
	onlyEntry(t, dir, "taken")
	if err := durable.WriteFile(filepath.Join(dir, "no", "such"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing directory: %v", err)
	}
}

func TestRenameNewNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/inner", "b", "c"} {
		if err := durable.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// b is an empty directory: rename(2) would replace it.
	err := durable.RenameNew(filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	if !errors.Is(err, fs.ErrExist) {
		t.Fatalf("want fs.ErrExist, got %v", err)
	}
	if err := durable.RenameNew(filepath.Join(dir, "a"), filepath.Join(dir, "c", "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "c", "a", "inner")); err != nil {
		t.Fatal(err)
	}
	err = durable.RenameNew(filepath.Join(dir, "gone"), filepath.Join(dir, "d"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("want fs.ErrNotExist, got %v", err)
	}
}

func TestMkdirAllOnAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(path, 0o700); err == nil {
		t.Fatal("a file in the directory's place must be an error")
	}
	if err := durable.SyncTree(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
}

func TestJSON(t *testing.T) {
	type record struct {
		Name string `json:"name"`
		N    int64  `json:"n"`
	}
	path := filepath.Join(t.TempDir(), "record.json")
	if _, err := durable.ReadJSON[record](path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing: %v", err)
	}
	want := record{Name: "cp-1", N: 1 << 60}
	if err := durable.WriteJSON(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := durable.ReadJSON[record](path)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, row := range []struct{ name, data string }{
		{"empty", ""},
		{"cut short", `{"name":"cp-1"`},
		{"garbage after", `{"name":"cp-1"} x`},
		{"second value after", `{"name":"cp-1"}{"name":"cp-2"}`},
		{"zeros after, as a lost write leaves", "{}\x00\x00"},
		{"wrong type", `{"n":"x"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(row.data), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := durable.ReadJSON[record](path); err == nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("want an error that names %s, got %v", path, err)
			}
		})
	}
}

func onlyEntry(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != name {
		t.Fatalf("want only %s in %s, got %v", name, dir, entries)
	}
}
