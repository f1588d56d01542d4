package staticpod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type folders struct{ root, manifests, stopped string }

func newFolders(t *testing.T) folders {
	t.Helper()
	root := t.TempDir()
	f := folders{root: root, manifests: filepath.Join(root, "kubernetes", "manifests"), stopped: filepath.Join(root, "ceo", "stopped")}
	if err := os.MkdirAll(f.manifests, 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f folders) read(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, EtcdFile))
	if err != nil {
		return ""
	}
	return string(data)
}

func (f folders) put(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, EtcdFile), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// onlyManifests fails if the kubelet would find anything that is no manifest: it runs every file of the folder.
func (f folders) onlyManifests(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(f.manifests)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != EtcdFile {
			t.Fatalf("the kubelet's folder holds %s", e.Name())
		}
	}
}

func TestTakeOutAndPutBack(t *testing.T) {
	f := newFolders(t)
	f.put(t, f.manifests, "one\n")
	for range 2 {
		if err := TakeOut(f.manifests, EtcdFile, f.stopped); err != nil {
			t.Fatal(err)
		}
		if f.read(f.manifests) != "" || f.read(f.stopped) != "one\n" {
			t.Fatal("not taken out")
		}
	}
	for range 2 {
		if err := PutBack(f.manifests, EtcdFile, f.stopped); err != nil {
			t.Fatal(err)
		}
		if f.read(f.manifests) != "one\n" || f.read(f.stopped) != "" {
			t.Fatal("not put back")
		}
	}
}

func TestMissingEverywhereIsAnError(t *testing.T) {
	f := newFolders(t)
	if err := TakeOut(f.manifests, EtcdFile, f.stopped); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("take out: %v", err)
	}
	if err := PutBack(f.manifests, EtcdFile, f.stopped); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("put back: %v", err)
	}
}

// A manifest that someone placed while ours was out stays in service, and ours is not lost.
func TestPutBackKeepsANewerManifest(t *testing.T) {
	f := newFolders(t)
	f.put(t, f.stopped, "old\n")
	f.put(t, f.manifests, "new\n")
	if err := PutBack(f.manifests, EtcdFile, f.stopped); err != nil {
		t.Fatal(err)
	}
	if f.read(f.manifests) != "new\n" {
		t.Error("the newer manifest was replaced")
	}
	kept, err := os.ReadFile(filepath.Join(f.stopped, EtcdFile+".superseded"))
	if err != nil || string(kept) != "old\n" {
		t.Errorf("the older one was lost: %q %v", kept, err)
	}
}

// A stale copy from an earlier crash never replaces what the kubelet runs.
func TestTakeOutPrefersTheLiveManifest(t *testing.T) {
	f := newFolders(t)
	f.put(t, f.stopped, "stale\n")
	f.put(t, f.manifests, "live\n")
	if err := TakeOut(f.manifests, EtcdFile, f.stopped); err != nil {
		t.Fatal(err)
	}
	if f.read(f.stopped) != "live\n" {
		t.Error("the stale copy was kept")
	}
}

type crash struct{ point string }

// crashAt runs do and ends it at the named point, as a kill would.
func crashAt(point string, do func() error) (crashed bool, err error) {
	reached = func(p string) {
		if p == point {
			panic(crash{p})
		}
	}
	defer func() {
		reached = func(string) {}
		if r := recover(); r != nil {
			if c, ok := r.(crash); !ok || c.point != point {
				panic(r)
			}
			crashed = true
		}
	}()
	return false, do()
}

// I20, I21: killed at any point, the manifest is whole in at least one place, the kubelet's folder holds nothing else,
// and doing it again ends in the same state.
func TestCrashAtEveryPoint(t *testing.T) {
	type verb struct {
		name         string
		startStopped bool
		do           func(folders) error
		points       []string
		wantLive     bool
	}
	verbs := []verb{
		{"place", false, func(f folders) error { return Place(f.manifests, EtcdFile, []byte("new\n")) }, []string{"place: temporary file written", "place: done"}, true},
		{"take out", false, func(f folders) error { return TakeOut(f.manifests, EtcdFile, f.stopped) }, []string{"take out: copied", "take out: removed"}, false},
		{"put back", true, func(f folders) error { return PutBack(f.manifests, EtcdFile, f.stopped) }, []string{"place: temporary file written", "place: done", "put back: placed", "put back: copy removed"}, true},
	}
	for _, v := range verbs {
		for _, point := range v.points {
			t.Run(fmt.Sprintf("%s/%s", v.name, strings.ReplaceAll(point, " ", "-")), func(t *testing.T) {
				f := newFolders(t)
				if v.startStopped {
					f.put(t, f.stopped, "old\n")
				} else {
					f.put(t, f.manifests, "old\n")
				}
				crashed, err := crashAt(point, func() error { return v.do(f) })
				if err != nil || !crashed {
					t.Fatalf("did not crash at %q: %v", point, err)
				}
				f.onlyManifests(t)
				live, stopped := f.read(f.manifests), f.read(f.stopped)
				if live == "" && stopped == "" {
					t.Fatal("the only copy was lost")
				}
				for _, got := range []string{live, stopped} {
					if got != "" && got != "old\n" && (v.name != "place" || got != "new\n") {
						t.Fatalf("a torn manifest: %q", got)
					}
				}
				if err := v.do(f); err != nil {
					t.Fatal(err)
				}
				f.onlyManifests(t)
				if (f.read(f.manifests) != "") != v.wantLive {
					t.Fatal("doing it again did not end where it should")
				}
			})
		}
	}
}

// A manifest that does not change is not written: the kubelet would see an event for nothing.
func TestPlaceLeavesTheSameManifestAlone(t *testing.T) {
	f := newFolders(t)
	if err := Place(f.manifests, EtcdFile, []byte("one\n")); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(f.manifests, EtcdFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := Place(f.manifests, EtcdFile, []byte("one\n")); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(f.manifests, EtcdFile))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("the file was replaced")
	}
}
