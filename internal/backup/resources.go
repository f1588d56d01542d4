package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

const (
	maxFile  = 4 << 20
	maxFiles = 2000
	maxSet   = 64 << 20
)

// ResourceSet is the control plane's static files as they were read.
type ResourceSet struct {
	files []file // sorted by name
	size  int
	// Missing are files that should be in it and are not, with the reason.
	Missing []string
}

type file struct {
	name    string // as a path on the node, without the leading slash
	content []byte
	mode    fs.FileMode
}

// Names of the files, as paths on the node.
func (r *ResourceSet) Names() []string {
	var out []string
	for _, f := range r.files {
		out = append(out, "/"+f.name)
	}
	return out
}

// GatherResources reads the control plane's files on a node (mission rows 13, 14) and says what of them a restored
// database depends on: fingerprints and the names of keys, no secret. extra are files that lie elsewhere than on disk.
func GatherResources(p node.Paths, extra map[string][]byte) (*ResourceSet, Cluster, error) {
	r := &ResourceSet{}
	etc := filepath.Dir(p.Manifests())
	for _, dir := range []string{p.Manifests(), p.KubernetesPKI(), p.PKI()} {
		if err := r.tree(p.Root, dir); err != nil {
			return nil, Cluster{}, err
		}
	}
	for _, name := range []string{"admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf", "kubelet.conf"} {
		// kubeadm leaves the super-admin's on the first node alone.
		r.one(p.Root, filepath.Join(etc, name), name != "super-admin.conf")
	}
	r.one(p.Root, p.Config(), true)
	r.one(p.Root, filepath.Join(p.Root, "/var/lib/kubelet/config.yaml"), false)
	c := Cluster{
		EtcdCA:         certificate(filepath.Join(p.EtcdPKI(), "ca.crt")),
		KubernetesCA:   certificate(filepath.Join(p.KubernetesPKI(), "ca.crt")),
		ServiceAccount: publicKey(filepath.Join(p.KubernetesPKI(), "sa.pub")),
	}
	r.apiServer(p, &c)
	for name, content := range extra {
		r.add(file{"ceo/" + name, content, 0o600})
	}
	slices.SortFunc(r.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	if r.size > maxSet || len(r.files) > maxFiles {
		return nil, c, fmt.Errorf("the control plane's files are %d with %d bytes, which is more than is to be expected (%d, %d): what is in %s?", len(r.files), r.size, maxFiles, maxSet, etc)
	}
	return r, c, nil
}

func (r *ResourceSet) add(f file) {
	if slices.ContainsFunc(r.files, func(g file) bool { return g.name == f.name }) {
		return
	}
	r.files = append(r.files, f)
	r.size += len(f.content)
}

// tree takes the regular files below a folder. Anything else is named and left out (P19).
func (r *ResourceSet) tree(root, dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			r.miss(root, path, err)
		case len(r.files) > maxFiles:
			return fmt.Errorf("more than %d files below %s", maxFiles, dir)
		case d.IsDir():
		default:
			r.one(root, path, true)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the control plane's files: %w", err)
	}
	return nil
}

func (r *ResourceSet) miss(root, path string, err error) {
	var bad *fs.PathError
	if errors.As(err, &bad) {
		err = bad.Err
	}
	r.Missing = append(r.Missing, fmt.Sprintf("%s: %v", strings.TrimPrefix(path, root), err))
}

// one reads a file. A link is followed: rotated certificates are often behind one.
func (r *ResourceSet) one(root, path string, expected bool) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		if expected {
			r.miss(root, path, err)
		}
		return
	case !st.Mode().IsRegular():
		r.miss(root, path, errors.New("no regular file"))
		return
	case st.Size() > maxFile:
		r.miss(root, path, fmt.Errorf("%d bytes are more than such a file has", st.Size()))
		return
	}
	b, err := os.ReadFile(path) //nolint:gosec // below the control plane's folders
	if err != nil {
		r.miss(root, path, err)
		return
	}
	r.add(file{strings.TrimPrefix(strings.TrimPrefix(path, root), "/"), b, st.Mode().Perm()})
}

// apiServer finds what kube-apiserver's manifest names: its version and the encryption configuration (P7).
func (r *ResourceSet) apiServer(p node.Paths, c *Cluster) {
	raw, err := os.ReadFile(filepath.Join(p.Manifests(), "kube-apiserver.yaml"))
	if err != nil {
		// In the middle of a recovery it is out of service.
		if raw, err = os.ReadFile(filepath.Join(p.Stopped(), "kube-apiserver.yaml")); err != nil {
			return
		}
	}
	pod, err := staticpod.Parse(raw)
	if err != nil || len(pod.Spec.Containers) == 0 {
		r.Missing = append(r.Missing, "kube-apiserver.yaml does not parse: the encryption configuration is not known")
		return
	}
	k := pod.Spec.Containers[0]
	if i := strings.LastIndexByte(k.Image, ':'); i > 0 {
		c.KubernetesVersion = k.Image[i+1:]
	}
	for _, arg := range append(slices.Clone(k.Command), k.Args...) {
		path, ok := strings.CutPrefix(arg, "--encryption-provider-config=")
		if !ok {
			continue
		}
		path = filepath.Join(p.Root, path)
		r.one(p.Root, path, true)
		keys, err := encryptionKeys(path)
		if err != nil {
			r.miss(p.Root, path, err)
		}
		c.EncryptionKeys = keys
	}
}

// encryptionKeys are the names of an encryption configuration's keys, as provider/name. The secrets stay where they are.
func encryptionKeys(path string) ([]string, error) {
	b, err := os.ReadFile(path) //nolint:gosec // named by kube-apiserver's manifest
	if err != nil {
		return nil, err
	}
	type keyed struct {
		Keys []struct {
			Name string `json:"name"`
		} `json:"keys"`
	}
	var conf struct {
		Resources []struct {
			Providers []struct {
				AESGCM    *keyed `json:"aesgcm"`
				AESCBC    *keyed `json:"aescbc"`
				Secretbox *keyed `json:"secretbox"`
				KMS       *struct {
					Name string `json:"name"`
				} `json:"kms"`
			} `json:"providers"`
		} `json:"resources"`
	}
	if yaml.Unmarshal(b, &conf) != nil {
		return nil, errors.New("it does not parse as an encryption configuration") // the parser's words may quote a key
	}
	var out []string
	for _, r := range conf.Resources {
		for _, p := range r.Providers {
			for provider, k := range map[string]*keyed{"aesgcm": p.AESGCM, "aescbc": p.AESCBC, "secretbox": p.Secretbox} {
				if k == nil {
					continue
				}
				for _, x := range k.Keys {
					out = append(out, provider+"/"+x.Name)
				}
			}
			if p.KMS != nil {
				out = append(out, "kms/"+p.KMS.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// certificate is the fingerprint of the first certificate in a file; empty if there is none.
func certificate(path string) string { return fingerprint(path, "CERTIFICATE") }

func publicKey(path string) string { return fingerprint(path, "PUBLIC KEY") }

func fingerprint(path, kind string) string {
	b, err := os.ReadFile(path) //nolint:gosec // fixed names below the PKI folder
	if err != nil {
		return ""
	}
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return ""
		}
		if block.Type == kind {
			sum := sha256.Sum256(block.Bytes)
			return hex.EncodeToString(sum[:])
		}
	}
}

// writeTar writes the files in their order, and how many bytes that were.
func (r *ResourceSet) writeTar(w io.Writer, at time.Time) (int64, error) {
	c := &counter{w: w}
	t := tar.NewWriter(c)
	for _, f := range r.files {
		h := &tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return c.n, fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := t.Write(f.content); err != nil {
			return c.n, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := t.Close(); err != nil {
		return c.n, fmt.Errorf("pack the control plane's files: %w", err)
	}
	return c.n, nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// unpack writes a tar's files below dir, which must be new or empty. Names that lead out of it are refused, whoever
// made the archive.
func unpack(archive []byte, dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty; nothing is overwritten, name a new folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	t := tar.NewReader(bytes.NewReader(archive))
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: files: %w", ErrDamaged, err)
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) || h.Size > maxFile || n > maxFiles {
			return fmt.Errorf("%w: files: %q is not to be expected in it", ErrDamaged, h.Name)
		}
		if err := root.MkdirAll(filepath.Dir(h.Name), 0o700); err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(t, maxFile+1))
		if err != nil {
			return fmt.Errorf("%w: files: %w", ErrDamaged, err)
		}
		// Its owner's alone, whatever it was: keys are among them.
		f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
}
