package revision

import (
	"os"
	"path/filepath"
	"testing"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

// P22: whatever changes the manifest or what is known of it is seen, also where size and times stay as they are; and what
// cannot be read is never as before (I23).
func TestStamp(t *testing.T) {
	s := Shelf{Paths: node.Paths{Root: t.TempDir()}}
	manifest := filepath.Join(s.Paths.Manifests(), staticpod.EtcdFile)
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var old os.FileInfo
		if st, err := os.Stat(path); err == nil {
			old = st
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if old != nil {
			if err := os.Chtimes(path, old.ModTime(), old.ModTime()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := s.Stamp(); got != "" {
		t.Errorf("of nothing: %x", got)
	}
	write(manifest, "one")
	if got := s.Stamp(); got != "" {
		t.Errorf("without an index: %x", got)
	}
	write(s.index(), "{}")
	first := s.Stamp()
	if first == "" || s.Stamp() != first {
		t.Fatalf("%x, then %x", first, s.Stamp())
	}
	for _, c := range []struct{ name, manifest, index string }{
		{"another manifest of the same size and time", "two", "{}"},
		{"another index", "one", "[]"},
		{"a byte that went from one to the other", "one{", "}"},
	} {
		write(manifest, c.manifest)
		write(s.index(), c.index)
		if s.Stamp() == first {
			t.Errorf("%s is not seen", c.name)
		}
	}
	write(manifest, "one")
	write(s.index(), "{}")
	if s.Stamp() != first {
		t.Error("as it was is another")
	}
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	if got := s.Stamp(); got != "" {
		t.Errorf("out of service: %x", got)
	}
}
