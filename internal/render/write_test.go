package render

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, root string) []string {
	t.Helper()
	have, data, err := Look(root, first())
	if err != nil {
		t.Fatal(err)
	}
	files, err := Render(first(), have, data)
	if err != nil {
		t.Fatal(err)
	}
	written, err := Write(root, files, have)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func TestWriteAndAgain(t *testing.T) {
	root := t.TempDir()
	written := write(t, root)
	if written[len(written)-1] != etcdManifest() {
		t.Errorf("the last one is %v", written)
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && strings.HasSuffix(path, ".key") && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %s", path, info.Mode())
		}
		if strings.HasPrefix(d.Name(), ".") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"etc", "var/lib"} {
		info, err := os.Stat(filepath.Join(root, d))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v %v: copied over a node's own, it would shut everybody out", d, info, err)
		}
	}
	if again := write(t, root); len(again) != 0 {
		t.Errorf("the second run wrote %v", again)
	}
}

// What came about between the look and the write is not replaced.
func TestWriteReplacesNothing(t *testing.T) {
	root := t.TempDir()
	files, err := Render(first(), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, files[3].Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(root, files, Have{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if have, err := os.ReadFile(path); err != nil || string(have) != "mine" { //nolint:gosec // the test's own
		t.Errorf("%q, %v", have, err)
	}
	if _, err := os.Stat(filepath.Join(root, etcdManifest())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("etcd's manifest is in place after an error: %v", err)
	}
}

// I1: whatever lies in the data dir is somebody's.
func TestI1DataIsLeft(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, dataDir, "member")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	have, data, err := Look(root, first())
	if err != nil || data != "member" {
		t.Fatalf("%q, %v", data, err)
	}
	var refused *RefusedError
	if _, err := Render(first(), have, data); !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
}
