package workplace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bench")
	killed := filepath.Join(dir, "run-1", "x")
	if err := os.MkdirAll(killed, 0o700); err != nil {
		t.Fatal(err)
	}
	scratch, leave, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(killed); err == nil {
		t.Error("what a run that was killed left is still there")
	}
	if _, _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "another run works in") {
		t.Errorf("two at once: %v", err)
	}
	if err := Flush(scratch); err != nil {
		t.Error(err)
	}
	if err := leave(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("it was left, and is still there")
	}
	if _, err := EtcdDir(t.TempDir(), "etcd"); err == nil || !strings.Contains(err.Error(), "-etcd") {
		t.Errorf("no etcd: %v", err)
	}
}
