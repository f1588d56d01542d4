package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func files(t *testing.T, b []byte) (names []string, content map[string][]byte) {
	t.Helper()
	content = map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, content
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, content[h.Name] = append(names, h.Name), c
	}
}

func TestPackedImageIsWhatContainerdReads(t *testing.T) {
	out := filepath.Join(t.TempDir(), "i.tar")
	if err := Pack(out, "registry.example:5000/a/etcd:v1", write(t, "etcd", "E"), write(t, "etcdctl", "CTL")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	_, outer := files(t, b)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(outer["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(manifest[0].RepoTags, []string{"registry.example:5000/a/etcd:v1"}) {
		t.Errorf("tags %v", manifest[0].RepoTags)
	}
	var config struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(outer[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(config.Config.Entrypoint, []string{"/usr/local/bin/etcd"}) {
		t.Errorf("entry point %v; want the first binary", config.Config.Entrypoint)
	}
	layer := outer[manifest[0].Layers[0]]
	sum := sha256.Sum256(layer)
	if want := "sha256:" + hex.EncodeToString(sum[:]); config.RootFS.DiffIDs[0] != want {
		t.Errorf("layer digest %s; want %s", config.RootFS.DiffIDs[0], want)
	}
	names, inner := files(t, layer)
	want := []string{"etc/", "etc/passwd", "tmp/", "usr/", "usr/local/", "usr/local/bin/", "usr/local/bin/etcd", "usr/local/bin/etcdctl"}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("layer holds %v; want %v", names, want)
	}
	if string(inner["usr/local/bin/etcdctl"]) != "CTL" {
		t.Errorf("etcdctl holds %q", inner["usr/local/bin/etcdctl"])
	}
}

func TestPackingTwiceGivesTheSameBytes(t *testing.T) {
	bin := write(t, "ceo", strings.Repeat("x", 100_000))
	dir := t.TempDir()
	var sums []string
	for _, name := range []string{"a.tar", "b.tar"} {
		// Neither the time nor the mode of the binary may show.
		if err := errors.Join(os.Chtimes(bin, time.Now(), time.Now().Add(time.Duration(len(sums))*time.Hour)), Pack(filepath.Join(dir, name), "x/ceo:v1", bin)); err != nil {
			t.Fatal(err)
		}
		sum, err := Digest(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum)
	}
	if sums[0] != sums[1] {
		t.Errorf("digests %v differ", sums)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("in the folder: %v (%v); want the two archives alone", left, err)
	}
}

func TestPackRefuses(t *testing.T) {
	bin := write(t, "ceo", "x")
	for _, row := range []struct {
		name, ref string
		bins      []string
	}{
		{"a reference without a tag", "registry:5000/ceo", []string{bin}},
		{"no binary", "x/ceo:v1", nil},
		{"a binary that is not there", "x/ceo:v1", []string{bin + "-not"}},
		{"a folder", "x/ceo:v1", []string{filepath.Dir(bin)}},
		{"two of one name", "x/ceo:v1", []string{bin, write(t, "ceo", "y")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "o.tar")
			if err := Pack(out, row.ref, row.bins...); err == nil {
				t.Error("no error")
			}
			if left, _ := os.ReadDir(filepath.Dir(out)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestCloneLinksWhatNeverChangesAndCopiesDatabases(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "node")
	for name, content := range map[string]string{"c/blobs/sha256/1": "blob", "m/meta.db": "db"} {
		p := filepath.Join(from, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("blobs", filepath.Join(from, "c/link")); err != nil {
		t.Fatal(err)
	}
	if err := CloneStore(from, to); err != nil {
		t.Fatal(err)
	}
	same := func(name string) bool {
		a, errA := os.Stat(filepath.Join(from, name))
		b, errB := os.Stat(filepath.Join(to, name))
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		return os.SameFile(a, b)
	}
	if !same("c/blobs/sha256/1") {
		t.Error("the blob was copied; want a link")
	}
	if same("m/meta.db") {
		t.Error("the database is shared between the nodes; want a copy")
	}
	if l, err := os.Readlink(filepath.Join(to, "c/link")); l != "blobs" {
		t.Errorf("link %q, %v", l, err)
	}
}
