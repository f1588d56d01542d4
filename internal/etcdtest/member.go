package etcdtest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// Member is one etcd: its place and, while it runs, its process.
type Member struct {
	Name       string
	DataDir    string
	ClientURL  string
	PeerURL    string
	MetricsURL string // plain HTTP: /health, /metrics
	PKI        *PKI
	Args       []string // flags for each start
	Bin        string   // folder of its etcd; empty: BinDir

	logPath string
	cmd     *exec.Cmd
	exited  chan struct{}
}

// NewMember takes free ports and starts nothing. Use it with Start to run etcd on a data dir that exists.
func NewMember(t testing.TB, name, dataDir string, pki *PKI) *Member {
	t.Helper()
	scheme := "http"
	if pki != nil {
		scheme = "https"
	}
	return &Member{
		Name: name, DataDir: dataDir, PKI: pki,
		ClientURL:  scheme + "://" + FreeAddr(t),
		PeerURL:    scheme + "://" + FreeAddr(t),
		MetricsURL: "http://" + FreeAddr(t),
		logPath:    filepath.Join(t.TempDir(), name+".log"),
	}
}

// FreeAddr is a free address on 127.0.0.1, below the kernel's range for outgoing connections, so that none takes the
// port in between. It is the test's until its end, also while nothing listens there: the tests of other packages, which
// run beside it, take their ports from here, too.
func FreeAddr(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "ceo-test-ports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		port := 12000 + rand.IntN(20000) //nolint:gosec // a port, not a secret
		// The lock is the reservation, and ends with the process; the file stays for the next one to lock.
		held, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			_ = held.Close()
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			_ = held.Close()
			continue
		}
		_ = l.Close()
		t.Cleanup(func() { _ = held.Close() })
		return addr
	}
	t.Fatal("etcdtest: no free port on 127.0.0.1")
	return ""
}

// Start runs etcd with the member's addresses and the flags given, and does not wait. Killed at the end of the test.
func (m *Member) Start(t testing.TB, flags ...string) {
	t.Helper()
	if m.cmd != nil {
		t.Fatalf("etcdtest: %s runs already", m.Name)
	}
	args := []string{
		"--name=" + m.Name, "--data-dir=" + m.DataDir,
		"--listen-client-urls=" + m.ClientURL, "--advertise-client-urls=" + m.ClientURL,
		"--listen-peer-urls=" + m.PeerURL, "--initial-advertise-peer-urls=" + m.PeerURL,
		"--listen-metrics-urls=" + m.MetricsURL,
	}
	if m.PKI != nil {
		args = append(args, m.PKI.Flags()...)
	}
	args = append(append(args, m.Args...), flags...)
	log, err := os.OpenFile(m.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	bin := m.Bin
	if bin == "" {
		bin = BinDir(t)
	}
	cmd := exec.Command(filepath.Join(bin, "etcd"), args...) //nolint:gosec // the test's own binary
	cmd.Stdout, cmd.Stderr = log, log
	// Were the test binary itself killed, no cleanup would run.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("etcdtest: start %s: %v", m.Name, err)
	}
	m.cmd, m.exited = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(m.exited)
	t.Cleanup(func() {
		if m.cmd == cmd {
			m.Kill(t)
		}
		if t.Failed() {
			t.Logf("last of %s's log:\n%s", m.Name, m.LogTail(30))
		}
	})
}

// Kill is a power loss as far as the process sees it.
func (m *Member) Kill(t testing.TB) { t.Helper(); m.end(t, syscall.SIGKILL) }

// Stop ends etcd in good order.
func (m *Member) Stop(t testing.TB) { t.Helper(); m.end(t, syscall.SIGTERM) }

func (m *Member) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(sig) // gone already is as good
	select {
	case <-m.exited:
	case <-time.After(WaitFor):
		_ = m.cmd.Process.Kill()
		<-m.exited
		t.Errorf("etcdtest: %s did not end within %s of %s", m.Name, WaitFor, sig)
	}
	m.cmd = nil
}

// Pid of the running etcd.
func (m *Member) Pid() int { return m.cmd.Process.Pid }

// Running reports whether the process lives.
func (m *Member) Running() bool {
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// WaitHealthy waits until the member knows a leader and serves.
func (m *Member) WaitHealthy(t testing.TB) {
	t.Helper()
	Eventually(t, m.Name+" to be healthy", func() (bool, string) {
		if !m.Running() {
			t.Fatalf("etcdtest: %s has ended:\n%s", m.Name, m.LogTail(30))
		}
		code, body, err := m.get("/health")
		if err != nil {
			return false, err.Error()
		}
		return code == http.StatusOK, body
	})
}

// Metrics gives the text of /metrics.
func (m *Member) Metrics(t testing.TB) string {
	t.Helper()
	_, body, err := m.get("/metrics")
	if err != nil {
		t.Fatalf("etcdtest: metrics of %s: %v", m.Name, err)
	}
	return body
}

func (m *Member) get(path string) (int, string, error) {
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get(m.MetricsURL + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, string(body), err
}

// Client talks to this member only.
func (m *Member) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return newClient(t, []string{m.ClientURL}, m.PKI)
}

// LogTail gives the last lines that etcd wrote.
func (m *Member) LogTail(lines int) string {
	data, err := os.ReadFile(m.logPath)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
