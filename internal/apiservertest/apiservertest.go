// Package apiservertest runs a real kube-apiserver on a real etcd for tests: on loopback, on free ports, with bounded
// waits, killed at the end of the test. There is no kubelet, no scheduler and no controller: objects stay as they are
// written, and a Node is what a test writes as one. The binary is that of the lab's cache (`make deps`), or of the
// folder that CEO_KUBE_BIN names.
package apiservertest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// Version of Kubernetes that the tests run against: the lab's.
const Version = "1.37.2"

// Server is a running kube-apiserver.
type Server struct {
	// Config is a client's, with all rights.
	Config *rest.Config
	// Etcd is what it keeps its objects in.
	Etcd *etcdtest.Cluster

	cmd     *exec.Cmd
	exited  chan struct{}
	logPath string
}

// BinDir is where kube-apiserver is; the test fails when it is not there.
func BinDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("CEO_KUBE_BIN")
	if dir == "" {
		cache := os.Getenv("CEO_LAB_CACHE")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				t.Fatalf("apiservertest: %v; set CEO_KUBE_BIN to the folder of the Kubernetes binaries", err)
			}
			cache = filepath.Join(home, ".cache", "ceo-lab")
		}
		dir = filepath.Join(cache, "k8s-v"+Version, "bin")
	}
	if _, err := os.Stat(filepath.Join(dir, "kube-apiserver")); err != nil {
		t.Fatalf("apiservertest: no kube-apiserver in %s: run `make deps`, or set CEO_KUBE_BIN to the folder of the Kubernetes binaries", dir)
	}
	return dir
}

// Start brings up an etcd and a kube-apiserver, and waits until that says that it is ready.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartOn(t, etcdtest.Start(t, etcdtest.Options{}))
}

// StartOn brings up a kube-apiserver on an etcd that runs already.
func StartOn(t testing.TB, etcd *etcdtest.Cluster) *Server {
	t.Helper()
	s := Launch(t, Options{Servers: etcd.Endpoints(), PKI: etcd.PKI})
	s.Etcd = etcd
	s.WaitReady(t)
	return s
}

// Options of one kube-apiserver.
type Options struct {
	Servers []string      // --etcd-servers
	PKI     *etcdtest.PKI // etcd's; nil without TLS
	// Bind is the address and port that it serves on; empty for a free one on loopback.
	Bind string
	// Flags that it gets as well; of two the last one counts.
	Flags []string
	// Cert and Key that it serves with, of the CA that CA names; empty for new ones.
	Cert, Key, CA string
}

// Launch starts a kube-apiserver, and does not wait until it is ready.
func Launch(t testing.TB, o Options) *Server {
	t.Helper()
	bin := filepath.Join(BinDir(t), "kube-apiserver")
	dir := t.TempDir()
	pki := etcdtest.NewPKI(t, dir)
	if o.Cert == "" {
		o.Cert, o.Key, o.CA = pki.ServerCert, pki.ServerKey, pki.CA
	}
	token := newToken(t)
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(token+",test,test,system:masters\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Bind == "" {
		o.Bind = net.JoinHostPort("127.0.0.1", freePort(t))
	}
	address, port, err := net.SplitHostPort(o.Bind)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		exited: make(chan struct{}), logPath: filepath.Join(dir, "kube-apiserver.log"),
		Config: &rest.Config{
			Host: "https://" + o.Bind, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAFile: o.CA},
			QPS: -1, Timeout: 30 * time.Second,
		},
	}
	log, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	args := []string{
		"--etcd-servers=" + strings.Join(o.Servers, ","),
		"--bind-address=" + address, "--advertise-address=" + address, "--secure-port=" + port,
		"--tls-cert-file=" + o.Cert, "--tls-private-key-file=" + o.Key,
		"--token-auth-file=" + tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://apiservertest.invalid",
		"--service-account-key-file=" + pki.ServerKey, "--service-account-signing-key-file=" + pki.ServerKey,
		"--service-cluster-ip-range=10.96.0.0/16",
		// Nobody is there to make service accounts, and no other apiserver's lease matters.
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
	}
	if o.PKI != nil {
		args = append(args, "--etcd-cafile="+o.PKI.CA, "--etcd-certfile="+o.PKI.ClientCert, "--etcd-keyfile="+o.PKI.ClientKey)
	}
	args = append(args, o.Flags...)
	s.cmd = exec.Command(bin, args...) //nolint:gosec // the test's own binary
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// Were the test binary itself killed, no cleanup would run.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("apiservertest: start kube-apiserver: %v", err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("last of kube-apiserver's log:\n%s", s.LogTail(30))
		}
	})
	return s
}

// Kill ends it at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// Pid of the process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Exited reports whether it has ended.
func (s *Server) Exited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// WaitReady waits until it says that it is ready.
func (s *Server) WaitReady(t testing.TB) { t.Helper(); s.waitReady(t) }

func (s *Server) waitReady(t testing.TB) {
	t.Helper()
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, "kube-apiserver to be ready", func() (bool, string) {
		select {
		case <-s.exited:
			t.Fatalf("apiservertest: kube-apiserver has ended:\n%s", s.LogTail(30))
		default:
		}
		resp, err := client.Get(s.Config.Host + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		_ = resp.Body.Close()
		return resp.StatusCode == 200, resp.Status
	})
}

// Dynamic is a client of any object.
func (s *Server) Dynamic(t testing.TB) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// InstallCRDs installs those in a folder, and waits until each is served and has no rule that does not compile.
func (s *Server) InstallCRDs(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("apiservertest: no CRDs in %s (%v)", dir, err)
	}
	ctx, crds := etcdtest.Context(t), s.Dynamic(t).Resource(crdResource)
	var names []string
	for _, f := range files {
		o := ReadYAML(t, f)
		if _, err := crds.Create(ctx, o, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
			t.Fatalf("apiservertest: install %s: %v", f, err)
		}
		names = append(names, o.GetName())
	}
	for _, name := range names {
		etcdtest.Eventually(t, name+" to be served", func() (bool, string) { return established(ctx, crds, name) })
	}
}

func established(ctx context.Context, crds dynamic.ResourceInterface, name string) (bool, string) {
	o, err := crds.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return false, err.Error()
	}
	conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return false, err.Error()
	}
	is := map[any]any{}
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok {
			is[m["type"]] = m["status"]
		}
	}
	return is["Established"] == "True" && is["NamesAccepted"] == "True" && is["NonStructuralSchema"] == nil, fmt.Sprint(conditions)
}

// ReadYAML reads a file with one object in it.
func ReadYAML(t testing.TB, path string) *unstructured.Unstructured {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict(b, &o.Object); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return o
}

// LogTail gives the last lines that kube-apiserver wrote.
func (s *Server) LogTail(lines int) string {
	data, err := os.ReadFile(s.logPath)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func newToken(t testing.TB) string {
	t.Helper()
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func freePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(etcdtest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
