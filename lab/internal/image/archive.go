// Package image makes container images from static binaries without a registry or a builder, and keeps them ready for the nodes.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Pack writes a docker-archive with one layer: the binaries in /usr/local/bin, /tmp and an /etc/passwd. The first binary is the entry point.
// The same input gives the same bytes.
func Pack(out, ref string, binaries ...string) error {
	if err := pack(out, ref, binaries); err != nil {
		return fmt.Errorf("pack image %s into %s: %w", ref, out, err)
	}
	return nil
}

func pack(out, ref string, binaries []string) (err error) {
	name, tag, ok := strings.Cut(ref[strings.LastIndexByte(ref, '/')+1:], ":")
	if !ok || name == "" || tag == "" {
		return errors.New("the reference needs a name and a tag, like registry.example/name:v1")
	}
	if len(binaries) == 0 {
		return errors.New("no binary given")
	}
	// The layer goes to a file first: the archive's manifest needs its digest, and it may be larger than memory should hold.
	layer, err := os.CreateTemp(filepath.Dir(out), ".layer-*")
	if err != nil {
		return err
	}
	defer func() { _ = layer.Close(); _ = os.Remove(layer.Name()) }()
	sum := sha256.New()
	if err := writeLayer(io.MultiWriter(layer, sum), binaries); err != nil {
		return err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/usr/local/bin/" + filepath.Base(binaries[0])}, "Env": []string{"PATH=/usr/local/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	c := sha256.Sum256(config)
	configName := hex.EncodeToString(c[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{ref}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(out), ".image-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	size, err := layer.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = layer.Seek(0, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w := tar.NewWriter(f)
	for _, e := range []struct {
		name string
		size int64
		r    io.Reader
	}{
		{"manifest.json", int64(len(manifest)), bytes.NewReader(manifest)},
		{configName, int64(len(config)), bytes.NewReader(config)},
		{"layer.tar", size, layer},
	} {
		if err := entry(w, tar.Header{Name: e.name, Mode: 0o644, Size: e.size, Typeflag: tar.TypeReg}, e.r); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(w.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}

func writeLayer(w io.Writer, binaries []string) error {
	t := tar.NewWriter(w)
	const passwd = "root:x:0:0:root:/:/sbin/nologin\n" //nolint:gosec // no password in it
	for _, h := range []tar.Header{
		{Name: "etc/", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "etc/passwd", Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(passwd))},
		{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir},
		{Name: "usr/", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "usr/local/", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "usr/local/bin/", Mode: 0o755, Typeflag: tar.TypeDir},
	} {
		if err := entry(t, h, strings.NewReader(passwd)); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, b := range binaries {
		base := filepath.Base(b)
		if seen[base] {
			return fmt.Errorf("two binaries are called %s", base)
		}
		seen[base] = true
		if err := addBinary(t, b); err != nil {
			return err
		}
	}
	return t.Close()
}

func addBinary(t *tar.Writer, path string) error {
	f, err := os.Open(path) //nolint:gosec // named by the user
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	return entry(t, tar.Header{Name: "usr/local/bin/" + filepath.Base(path), Mode: 0o755, Size: st.Size(), Typeflag: tar.TypeReg}, f)
}

func entry(w *tar.Writer, h tar.Header, r io.Reader) error {
	h.ModTime = time.Unix(0, 0)
	h.Format = tar.FormatUSTAR
	if err := w.WriteHeader(&h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.CopyN(w, r, h.Size)
	return err
}

// Digest is the SHA-256 of a file.
func Digest(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // named by the user
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
