package guard

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

func TestKeepBinary(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	etcd := filepath.Join(t.TempDir(), "etcd")
	write := func(content string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(etcd, []byte(content), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		if err := os.Chtimes(etcd, at, at); err != nil {
			t.Fatal(err)
		}
		if err := keepBinary(p, etcd); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(p.EtcdBinary())
		if err != nil || string(got) != content {
			t.Fatalf("%q, %v", got, err)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	write("first", at)
	before, err := os.Stat(p.EtcdBinary())
	if err != nil || before.Mode().Perm() != 0o755 {
		t.Fatalf("%v, %v", before, err)
	}
	write("first", at)
	if again, err := os.Stat(p.EtcdBinary()); err != nil || !os.SameFile(before, again) {
		t.Fatalf("the same binary was copied again: %v", err)
	}
	write("other", at.Add(time.Second))
	left, err := os.ReadDir(filepath.Dir(p.EtcdBinary()))
	if err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	if err := keepBinary(p, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("kept a binary that is not there")
	}
}
