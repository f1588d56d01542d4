//go:build integration

package crash

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"clusteretcd.io/ceo/internal/durable"
)

// TestTheLayerLosesWhatIsNotFlushed proves that the power losses of these tests lose something: else they would prove
// nothing of the restore (I21).
func TestTheLayerLosesWhatIsNotFlushed(t *testing.T) {
	needRoot(t)
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			// Anyone on this machine may call sync(2) in between, which flushes all file systems.
			var kept []string
			for range 3 {
				if kept = loseFiles(t, kind); len(kept) == 0 {
					return
				}
			}
			t.Errorf("%q were not flushed and survived, three times: this layer proves nothing", kept)
		})
	}
}

// loseFiles writes files with more and less care, loses the power, and names those that survived against expectation.
func loseFiles(t *testing.T, kind string) (kept []string) {
	t.Helper()
	content := make([]byte, 8<<20)
	_, _ = rand.Read(content)
	fs := attach(t, kind, format(t, kind))
	file := func(name string) string { return filepath.Join(fs.dir, "data", name) }
	if err := durable.MkdirAll(filepath.Join(fs.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(file("flushed"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	// As cp does it, as mv does it, and with its name flushed but not its content: the empty file that a power loss
	// leaves behind a careless rename.
	for _, name := range []string{"named", "copied", "renamed.tmp"} {
		if err := os.WriteFile(file(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "named" {
			if err := durable.SyncDir(filepath.Join(fs.dir, "data")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Rename(file("renamed.tmp"), file("renamed")); err != nil {
		t.Fatal(err)
	}
	careless := []string{"named", "copied", "renamed"}
	// Before: what a process sees is all there.
	for _, name := range append(careless, "flushed") {
		if got, err := os.ReadFile(file(name)); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%s before the power loss: %d bytes, %v", name, len(got), err)
		}
	}
	fs.losePower(t)
	if got, err := os.ReadFile(file("flushed")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("what was flushed is lost: %d bytes, %v", len(got), err)
	}
	for _, name := range careless {
		got, err := os.ReadFile(file(name))
		t.Logf("%s: %d of %d bytes, %v", name, len(got), len(content), err)
		if bytes.Equal(got, content) {
			kept = append(kept, name)
		}
	}
	return kept
}
