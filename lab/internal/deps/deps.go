// Package deps brings everything that a lab needs onto a bare Debian 12 machine with Go: Debian packages, and Kubernetes, etcd and their images
// built from Go modules into a cache that is keyed by version.
package deps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"clusteretcd.io/ceo/lab/internal/image"
	"clusteretcd.io/ceo/lab/internal/progress"
	"clusteretcd.io/ceo/lab/internal/state"
)

// Versions of what the lab is made of.
const (
	Kubernetes = "1.37.2"
	Etcd       = "3.7.3"
	// EtcdTag is the tag that this kubeadm asks for; the image behind it holds Etcd.
	EtcdTag = "3.7.0-0"
	Pause   = "3.10.2"
	// Registry is only a name here: nothing is ever pulled.
	Registry = "registry.k8s.io"
)

// Cache is the folder of built things, outside of any work tree.
type Cache string

// DefaultCache is $CEO_LAB_CACHE, or ~/.cache/ceo-lab.
func DefaultCache() (Cache, error) {
	if d := os.Getenv("CEO_LAB_CACHE"); d != "" {
		abs, err := filepath.Abs(d)
		return Cache(abs), err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the lab's cache (set CEO_LAB_CACHE): %w", err)
	}
	return Cache(filepath.Join(home, ".cache", "ceo-lab")), nil
}

func (c Cache) path(parts ...string) string {
	return filepath.Join(append([]string{string(c)}, parts...)...)
}

// KubernetesBin is the folder with kubeadm, kubelet, kubectl and the control plane.
func (c Cache) KubernetesBin() string { return c.path("k8s-v"+Kubernetes, "bin") }

// EtcdBin is the folder with etcd, etcdctl and etcdutl.
func (c Cache) EtcdBin() string { return c.path("etcd-v"+Etcd, "bin") }

// Kubectl is the kubectl binary.
func (c Cache) Kubectl() string { return filepath.Join(c.KubernetesBin(), "kubectl") }

func (c Cache) pauseBin() string { return c.path("pause-v"+Pause+"-"+pauseKey(), "bin", "pause") }

// spec is an image of the cluster.
type spec struct {
	ref      string
	binaries []string
}

func (c Cache) images() []spec {
	k, e := c.KubernetesBin(), c.EtcdBin()
	all := []spec{
		{Registry + "/pause:" + Pause, []string{c.pauseBin()}},
		{Registry + "/etcd:" + EtcdTag, []string{e + "/etcd", e + "/etcdctl", e + "/etcdutl"}},
	}
	for _, n := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		all = append(all, spec{Registry + "/" + n + ":v" + Kubernetes, []string{filepath.Join(k, n)}})
	}
	return all
}

// imageKey names this set of images: versions, tags and the layout of an archive.
func (c Cache) imageKey() string {
	var b strings.Builder
	b.WriteString("layout 1\n")
	for _, s := range c.images() {
		b.WriteString(s.ref + "\n")
	}
	b.WriteString(Etcd + pauseKey())
	h := sha256.Sum256([]byte(b.String()))
	return fmt.Sprintf("k8s-v%s-etcd-v%s-%s", Kubernetes, Etcd, hex.EncodeToString(h[:4]))
}

// Images is the folder with the image tars.
func (c Cache) Images() string { return c.path("img", c.imageKey()) }

// Store is a containerd root with the images imported and unpacked.
func (c Cache) Store() string { return c.path("store", c.imageKey()) }

// Options say which part of everything is wanted.
type Options struct {
	EtcdOnly bool // the etcd binaries alone: no packages, no root
}

// Ensure brings what is missing. Complete parts are never touched again.
func Ensure(ctx context.Context, r *progress.Reporter, c Cache, o Options) error {
	if err := os.MkdirAll(c.path("log"), 0o700); err != nil {
		return fmt.Errorf("make the lab's cache: %w", err)
	}
	unlock, err := state.LockFile(c.path("lock"), time.Hour, r.Say)
	if err != nil {
		return err
	}
	defer unlock()
	log := func(name string) string { return c.path("log", name+".log") }
	if !o.EtcdOnly {
		if err := installPackages(ctx, r, log("packages")); err != nil {
			return err
		}
	}
	parts := []struct {
		what, dir string
		build     func(ctx context.Context, dir string) error
	}{
		{"etcd v" + Etcd, filepath.Dir(c.EtcdBin()), func(ctx context.Context, dir string) error { return buildEtcd(ctx, r, dir, log("etcd")) }},
		{"Kubernetes v" + Kubernetes, filepath.Dir(c.KubernetesBin()), func(ctx context.Context, dir string) error { return buildKubernetes(ctx, r, dir, log("kubernetes")) }},
		{"pause v" + Pause, filepath.Dir(filepath.Dir(c.pauseBin())), func(ctx context.Context, dir string) error { return buildPause(ctx, r, dir, log("pause")) }},
		{"the cluster's images", c.Images(), func(_ context.Context, dir string) error { return c.packImages(dir) }},
		{"the nodes' image store", c.Store(), func(ctx context.Context, dir string) error { return c.buildStore(ctx, r, dir, log("store")) }},
	}
	if o.EtcdOnly {
		parts = parts[:1]
	}
	for _, p := range parts {
		if err := once(ctx, r, p.what, p.dir, p.build); err != nil {
			return err
		}
	}
	return nil
}

// once builds into a folder beside dir and gives it its name when it is complete: a folder with the name is always whole.
func once(ctx context.Context, r *progress.Reporter, what, dir string, build func(context.Context, string) error) (err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	tmp := dir + ".partial" // one builder at a time (the lock), so one name; what a crash left there goes first
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("remove an unfinished build: %w", err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	began := time.Now()
	r.Say("building %s", what)
	if err := build(ctx, tmp); err != nil {
		return fmt.Errorf("build %s: %w", what, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("complete %s: %w", what, err)
	}
	r.Say("built %s in %s", what, time.Since(began).Round(100*time.Millisecond))
	return nil
}

func tarName(ref string) string {
	name, _, _ := strings.Cut(filepath.Base(ref), ":")
	return name + ".tar"
}

func (c Cache) packImages(dir string) error {
	for _, s := range c.images() {
		if err := image.Pack(filepath.Join(dir, tarName(s.ref)), s.ref, s.binaries...); err != nil {
			return err
		}
	}
	return nil
}

func (c Cache) buildStore(ctx context.Context, r *progress.Reporter, dir, log string) error {
	var tars []string
	for _, s := range c.images() {
		tars = append(tars, filepath.Join(c.Images(), tarName(s.ref)))
	}
	return image.BuildStore(ctx, r, dir, log, tars)
}
