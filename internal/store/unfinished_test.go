package store

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestUnfinishedNames(t *testing.T) {
	for name, want := range map[string]bool{
		".etcd.db.ABCDEFGHIJKLMNOPQRSTUVWXYZ.part": true,
		".a.234567ABCDEFGHIJKLMNOPQRST.part":       true,
		"etcd.db.part":                             false,
		".part":                                    false,
		".a.short.part":                            false,
		".a.abcdefghijklmnopqrstuvwxyz.part":       false,
		".a.ABCDEFGHIJKLMNOPQRSTUVWXYZ.part.x":     false,
	} {
		if unfinished(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// P27: what a killed writer left goes, what a living one writes and what a person put there stays.
func TestSweepTakesOnlyTheDead(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "backup")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	living, err := createUnfinished(filepath.Join(below, "living"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = living.Close() }()
	var dead []string
	for _, dir := range []string{root, below} {
		f, err := createUnfinished(filepath.Join(dir, "dead"))
		if err != nil {
			t.Fatal(err)
		}
		dead = append(dead, f.Name())
		_ = f.Close() // a process that ends does that to it
	}
	person := filepath.Join(below, "person.part")
	if err := os.WriteFile(person, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newFolder(root)
	w, err := s.Create(t.Context(), "other/a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	for _, path := range dead {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	for _, path := range []string{living.Name(), person} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// A writer killed for real: its file is not an object, and the next writer's process removes it.
func TestKilledWriter(t *testing.T) {
	const variable = "STORE_TEST_KILLED_WRITER"
	if root := os.Getenv(variable); root != "" {
		w, err := newFolder(root).Create(t.Context(), "a/b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		_ = self.Kill()
		select {}
	}
	root := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$") //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), variable+"="+root)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%v: %s", err, out)
	}
	left := func() []string {
		paths, err := filepath.Glob(filepath.Join(root, "a", ".*.part"))
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	if len(left()) != 1 {
		t.Fatalf("the killed writer left %q, the test proves nothing", left())
	}
	s := newFolder(root)
	for o, err := range s.List(t.Context(), "") {
		t.Fatalf("listed: %+v, %v", o, err)
	}
	w, err := s.Create(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if paths := left(); len(paths) != 1 || slices.Contains(paths, "half") {
		t.Fatalf("there is %q, want the new writer's alone", paths)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if len(left()) != 0 {
		t.Fatalf("left: %q", left())
	}
}
