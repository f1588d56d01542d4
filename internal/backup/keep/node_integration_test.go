//go:build integration

package keep_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// machine is a control-plane node below a folder, whose etcd is one of a cluster's members.
type machine struct {
	keep.Keeper
	root string
}

// newMachine makes node.json, the PKI and some of a control plane's files. own is the member that runs on it.
func newMachine(t testing.TB, c *etcdtest.Cluster, own int) machine {
	t.Helper()
	m := machine{root: t.TempDir()}
	p := node.Paths{Root: m.root}
	conf := node.Config{ClusterName: "prod", Address: "10.0.0.11", DataDir: "/var/lib/etcd", Peers: []node.Peer{}, Lineage: node.Lineage{}}
	for i, e := range c.Members {
		if i == own {
			conf.Name, conf.PeerURL, conf.ClientURL = e.Name, e.PeerURL, e.ClientURL
			continue
		}
		conf.Peers = append(conf.Peers, node.Peer{Name: e.Name, Address: fmt.Sprintf("10.0.0.%d", 12+i), PeerURL: e.PeerURL, ClientURL: e.ClientURL})
	}
	for _, dir := range []string{p.State(), p.EtcdPKI(), p.Manifests(), p.PKI()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.Save(p, conf); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{c.PKI.CA: "ca.crt", c.PKI.ClientCert: "healthcheck-client.crt", c.PKI.ClientKey: "healthcheck-client.key"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(p.EtcdPKI(), to), b)
	}
	put(t, filepath.Join(p.Manifests(), "etcd.yaml"), []byte("kind: Pod\n"))
	put(t, filepath.Join(p.KubernetesPKI(), "sa.pub"), []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	put(t, filepath.Join(p.KubernetesPKI(), "ca.key"), []byte("the CA's key"))
	m.Keeper = keep.Keeper{Paths: p, Version: "test", Local: c.Members[own].ClientURL}
	return m
}

func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// configure writes backup.yaml.
func (m machine) configure(t testing.TB, format string, args ...any) {
	t.Helper()
	put(t, m.Paths.BackupConfig(), fmt.Appendf(nil, format, args...))
}

func (m machine) create(t testing.TB) keep.Made {
	t.Helper()
	made, err := m.Create(etcdtest.Context(t), true, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (m machine) list(t testing.TB) keep.Listing {
	t.Helper()
	l, err := m.List(etcdtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func quiet(string, int64, int64) {}

// fill puts keys, a lease and kubeadm-config as kube-apiserver stores it, and gives the last revision.
func fill(t testing.TB, c *etcdtest.Cluster, keys int) int64 {
	t.Helper()
	cli, ctx := c.Client(t), etcdtest.Context(t)
	cm, err := (&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kubeadm-config"}, Data: map[string]string{"ClusterConfiguration": "kind: ClusterConfiguration\n"}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	object, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Raw: cm}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Put(ctx, "/registry/configmaps/kube-system/kubeadm-config", "k8s\x00"+string(object)); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Grant(ctx, 3600); err != nil {
		t.Fatal(err)
	}
	var last int64
	for i := range keys {
		r, err := cli.Put(ctx, fmt.Sprintf("/registry/pods/%04d", i), strings.Repeat("x", 500))
		if err != nil {
			t.Fatal(err)
		}
		last = r.Header.Revision
	}
	// A new cluster's members write their storage version down some seconds after it has formed; until then they say the
	// oldest that their database may be of.
	for _, e := range c.Members {
		etcdtest.Eventually(t, e.Name+" to write its storage version", func() (bool, string) {
			st, err := cli.Status(ctx, e.ClientURL)
			return err == nil && strings.HasPrefix(etcdtest.Version, strings.TrimSuffix(st.StorageVersion, ".0")+"."), fmt.Sprint(st, err)
		})
	}
	return last
}

// leader is the index of the member that leads, and of one that does not.
func leader(t testing.TB, c *etcdtest.Cluster) (leads, follows int) {
	t.Helper()
	cli := c.Client(t)
	etcdtest.Eventually(t, "a leader", func() (bool, string) {
		leads, follows = -1, -1
		for i, e := range c.Members {
			st, err := cli.Status(etcdtest.Context(t), e.ClientURL)
			if err != nil {
				return false, err.Error()
			}
			if st.Leader == st.Header.MemberId {
				leads = i
			} else if st.Leader != 0 {
				follows = i
			}
		}
		return leads >= 0 && (follows >= 0 || len(c.Members) == 1), fmt.Sprint(leads, follows)
	})
	return leads, follows
}

// child is what a process of its own does: the test binary, started again, so that it can be killed, measured and given
// a disk of its own.
type child struct {
	Do    string
	Root  string
	Local string
	// KillAt is the phase at whose first progress the process is killed.
	KillAt string
}

const childEnv = "CEO_KEEP_TEST_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childEnv); raw != "" {
		var c child
		err := json.Unmarshal([]byte(raw), &c)
		if err == nil {
			err = c.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func (c child) run() error {
	ctx, cancel := context.WithTimeout(context.Background(), etcdtest.WaitFor)
	defer cancel()
	k := keep.Keeper{Paths: node.Paths{Root: c.Root}, Version: "test", Local: c.Local, Now: func() time.Time { return time.Now() }}
	progress := keep.Progress(quiet)
	switch c.Do {
	case "create":
		progress = func(phase string, done, total int64) {
			if phase == c.KillAt {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
	case "full disk":
		return c.onAFullDisk(ctx, k)
	}
	debug.SetMemoryLimit(keep.Memory) // as the CLI does
	_, err := k.Create(ctx, true, progress)
	return err
}

func (c child) command(t testing.TB) *exec.Cmd {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(etcdtest.Context(t), self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
