package prove

import (
	"os"
	"path/filepath"
	"testing"
)

// What a killed run left in scratch space goes, what a run that is going on has there stays, and nobody else's files are
// touched (P19, P27).
func TestSweep(t *testing.T) {
	scratch := t.TempDir()
	running, unlock, err := begin(scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	left, dead, err := begin(scratch)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "db"), []byte("a copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	dead()
	other := filepath.Join(scratch, "somebody-elses")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scratch, prefix+"file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sweep(scratch); err != nil {
		t.Fatal(err)
	}
	for path, there := range map[string]bool{running: true, left: false, other: true, filepath.Join(scratch, prefix+"file"): true} {
		if _, err := os.Stat(path); (err == nil) != there {
			t.Errorf("%s: %v", path, err)
		}
	}
}
