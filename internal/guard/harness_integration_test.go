//go:build integration

package guard

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// The test binary is the guard when this is set: the same Run in a process of
// its own, with real signals and a real parent and child.
const asGuard = "CEO_TEST_GUARD_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(asGuard); root != "" {
		signals := make(chan os.Signal, 16)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		p := node.Paths{Root: root}
		g := New(Options{Command: os.Args[2:], Paths: p, ProbeAddress: os.Args[1], Agents: Agents{Paths: p}, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
		os.Exit(g.Run(context.Background(), signals))
	}
	os.Exit(m.Run())
}

// machine is a control-plane node: paths, an etcd's addresses, and at times a
// guard.
type machine struct {
	*etcdtest.Member
	paths  node.Paths
	probes string
	peers  []node.Peer
	cmd    *exec.Cmd
	exited chan struct{}
	log    *lines
}

func newMachine(t *testing.T, name string, peers ...*etcdtest.Member) *machine {
	t.Helper()
	root, err := os.MkdirTemp("", "g") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	m := &machine{paths: node.Paths{Root: root}, log: &lines{}}
	m.Member = etcdtest.NewMember(t, name, filepath.Join(root, "var/lib/etcd"), nil)
	m.probes = strings.TrimPrefix(etcdtest.NewMember(t, "probes", root, nil).MetricsURL, "http://")
	for _, p := range peers {
		m.peers = append(m.peers, node.Peer{Name: p.Name, Address: "127.0.0.1", PeerURL: p.PeerURL, ClientURL: p.ClientURL})
	}
	for _, d := range []string{m.paths.State(), m.DataDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.record(t)
	return m
}

// record writes node.json with the clusters of epochs 0, 1, …
func (m *machine) record(t *testing.T, clusters ...string) {
	t.Helper()
	c := node.Config{Name: m.Name, ClusterName: "test", Address: "127.0.0.1", PeerURL: m.PeerURL, ClientURL: m.ClientURL, DataDir: m.DataDir, Peers: m.peers}
	for i, id := range clusters {
		c.Lineage = append(c.Lineage, node.Generation{Epoch: int64(i), ClusterID: id})
	}
	if err := node.Save(m.paths, c); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) permitBootstrap(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(m.paths.Intent(), []byte(`{"bootstrapOnce":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

// guard starts the guard with the flags that a kubeadm upgrade leaves:
// initial-cluster names the node alone, and there is no state (P25).
func (m *machine) guard(t *testing.T) { t.Helper(); m.guardAs(t, nil) }

func (m *machine) guardAs(t *testing.T, attr *syscall.SysProcAttr) {
	t.Helper()
	m.cmd = exec.Command(os.Args[0], m.probes, filepath.Join(etcdtest.BinDir(t), "etcd"),
		"--name="+m.Name, "--data-dir="+m.DataDir, "--listen-client-urls="+m.ClientURL, "--advertise-client-urls", m.ClientURL,
		"--listen-peer-urls="+m.PeerURL, "--initial-advertise-peer-urls="+m.PeerURL, "--listen-metrics-urls="+m.MetricsURL,
		"--initial-cluster="+m.Name+"="+m.PeerURL)
	m.cmd.SysProcAttr = attr
	m.cmd.Env = append(os.Environ(), asGuard+"="+m.paths.Root)
	log := &lines{}
	m.log, m.cmd.Stdout, m.cmd.Stderr = log, log, log
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, exited := m.cmd, make(chan struct{})
	m.exited = exited
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("guard of %s:\n%s", m.Name, log.tail(25))
		}
	})
}

// end sends the guard a signal and gives its exit code.
func (m *machine) end(t *testing.T, s syscall.Signal) int {
	t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	return m.exitCode(t)
}

func (m *machine) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-m.exited:
	case <-time.After(etcdtest.WaitFor):
		t.Fatalf("the guard of %s has not ended", m.Name)
	}
	return m.cmd.ProcessState.ExitCode()
}

// until waits for a status of the guard.
func (m *machine) until(t *testing.T, what string, ok func(Status) bool) Status {
	t.Helper()
	var s Status
	etcdtest.Eventually(t, m.Name+": "+what, func() (bool, string) {
		var err error
		if s, err = Dial(m.paths).Status(t.Context()); err != nil {
			return false, err.Error()
		}
		return ok(s), string(s.State) + ": " + s.Decision.Reason
	})
	return s
}

func (m *machine) serving(t *testing.T) Status {
	t.Helper()
	etcdtest.Eventually(t, m.Name+" to be ready", func() (bool, string) {
		code, body := m.probe(t, "/readyz")
		return code == http.StatusOK, body
	})
	return m.until(t, "running", func(s Status) bool { return s.State == Running })
}

func (m *machine) waits(t *testing.T, n Need) Status {
	t.Helper()
	return m.until(t, "to need "+string(n), func(s Status) bool {
		return (s.State == Waiting || s.State == Refused) && s.Decision.Needs == n && !s.Decision.Archive
	})
}

func (m *machine) probe(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + m.probes + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	body, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(body)
}

// aliveNotReady asserts what the kubelet must see of a guard without etcd.
func (m *machine) aliveNotReady(t *testing.T) {
	t.Helper()
	if code, body := m.probe(t, "/livez"); code != http.StatusOK {
		t.Errorf("livez: %d %s", code, body)
	}
	if code, body := m.probe(t, "/readyz"); code != http.StatusServiceUnavailable || body == "" {
		t.Errorf("readyz: %d %q", code, body)
	}
	if s, err := Dial(m.paths).Status(t.Context()); err != nil || s.ChildPID != 0 {
		t.Errorf("an etcd is named: %+v %v", s, err)
	}
	if n := m.log.starts(); n != m.log.ends() {
		t.Errorf("%d etcds were started and %d have ended", n, m.log.ends())
	}
}

// aliveOnly asserts what the kubelet must see of an etcd without quorum.
func (m *machine) aliveOnly(t *testing.T) {
	t.Helper()
	if code, body := m.probe(t, "/livez"); code != http.StatusOK {
		t.Errorf("livez: %d %s", code, body)
	}
	if code, _ := m.probe(t, "/readyz"); code == http.StatusOK {
		t.Error("an etcd without quorum is ready")
	}
}

func (m *machine) put(t *testing.T, c *clientv3.Client, key string) {
	t.Helper()
	if _, err := c.Put(etcdtest.Context(t), key, "v"); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, c *clientv3.Client, key string) bool {
	t.Helper()
	r, err := c.Get(etcdtest.Context(t), key)
	if err != nil {
		t.Fatal(err)
	}
	return r.Count == 1
}

func clusterID(t *testing.T, m *etcdtest.Member) string {
	t.Helper()
	r, err := m.Client(t).MemberList(etcdtest.Context(t), clientv3.WithSerializable())
	if err != nil {
		t.Fatal(err)
	}
	return node.FormatID(r.Header.ClusterId)
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// lines keeps what a guard and its etcd write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.buf.String() }

func (l *lines) starts() int { return strings.Count(l.String(), `"msg":"started etcd"`) }

func (l *lines) ends() int {
	s := l.String()
	return strings.Count(s, `"msg":"etcd has ended"`) + strings.Count(s, `"msg":"etcd is stopped"`)
}

func (l *lines) tail(n int) string {
	all := strings.Split(strings.TrimSpace(l.String()), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
