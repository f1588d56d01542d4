//go:build integration

package operator_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// What docs/adr/0018-etcd-servers.md says of a real kube-apiserver with several --etcd-servers, shown.

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func TestServersFacts(t *testing.T) {
	if os.Getenv("CEO_E2E_FULL") == "" {
		t.Skip("only with CEO_E2E_FULL=1: two minutes, of facts about kube-apiserver")
	}
	if !alone(t) {
		return
	}
	t.Run("dead ones in the list", deadServers)
	t.Run("its own is down", ownServerDown)
	t.Run("two clusters in one list (I3)", twoClusters)
}

func readyz(s *apiservertest.Server) string {
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Config.Host+"/readyz", nil)
	if err != nil {
		return err.Error()
	}
	res, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	_ = res.Body.Close()
	return res.Status
}

func write(t *testing.T, s *apiservertest.Server, name string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "default"}}}
	_, err := s.Dynamic(t).Resource(configMaps).Namespace("default").Create(ctx, o, metav1.CreateOptions{})
	return err
}

// After a recovery with one member the others of the list are dead: kube-apiserver starts and serves, and they cost nothing
// that is seen.
func deadServers(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{TLS: true})
	dead := []string{"https://" + etcdtest.FreeAddr(t), "https://" + etcdtest.FreeAddr(t)}
	for _, servers := range [][]string{etcd.Endpoints(), append(etcd.Endpoints(), dead...), append(slices.Clone(dead), etcd.Endpoints()...)} {
		began := time.Now()
		s := apiservertest.Launch(t, apiservertest.Options{Servers: servers, PKI: etcd.PKI})
		s.WaitReady(t)
		ready := time.Since(began)
		began = time.Now()
		for i := range 50 {
			must(t, write(t, s, fmt.Sprintf("dead-%d-%d-%s", len(servers), i, strings.ReplaceAll(servers[0], "/", "")[len("https:127.0.0.1:"):])))
		}
		t.Logf("%d servers, the first %s: ready after %s, 50 writes in %s, %d MB", len(servers), servers[0], ready, time.Since(began), rss(t, s.Pid()))
		s.Kill()
	}
}

// With three servers kube-apiserver outlives its own; with one it does not serve. clientv3 asks all in turn.
func ownServerDown(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{Members: 3, TLS: true})
	one := apiservertest.Launch(t, apiservertest.Options{Servers: etcd.Endpoints()[:1], PKI: etcd.PKI})
	one.WaitReady(t)
	before := requests(t, etcd)
	connectionsOfOne := connections(t, one.Pid(), etcd)
	t.Logf("one server: %v requests by member since it began, %v connections, %d MB", before, connectionsOfOne, rss(t, one.Pid()))
	three := apiservertest.Launch(t, apiservertest.Options{Servers: etcd.Endpoints(), PKI: etcd.PKI})
	three.WaitReady(t)
	before = requests(t, etcd)
	for i := range 90 {
		must(t, write(t, three, "spread-"+strconv.Itoa(i)))
	}
	after := requests(t, etcd)
	for i := range after {
		if after[i] -= before[i]; after[i] < 20 {
			t.Errorf("round robin: m%d got %d requests of 90 writes", i+1, after[i])
		}
	}
	t.Logf("three servers: 90 writes were asked of %v by member, %v connections, %d MB", after, connections(t, three.Pid(), etcd), rss(t, three.Pid()))

	etcd.Members[0].Kill(t)
	worst, failed := time.Duration(0), 0
	for i := range 100 {
		began := time.Now()
		if err := write(t, three, "down-"+strconv.Itoa(i)); err != nil {
			failed++
			t.Logf("write %d: %v", i, err)
		}
		worst = max(worst, time.Since(began))
	}
	etcdtest.Eventually(t, "the one with three to be ready", func() (bool, string) { s := readyz(three); return s == "200 OK", s })
	etcdtest.Eventually(t, "the one with one not to be ready", func() (bool, string) { s := readyz(one); return s != "200 OK", s })
	if three.Exited() {
		t.Error("it did not outlive its own etcd")
	}
	t.Logf("its own down: %d of 100 writes failed, the longest took %s", failed, worst)

	etcd.Members[0].Start(t)
	etcd.Members[0].WaitHealthy(t)
	// Frozen, not dead: its connections stay, and whoever is sent to it waits until the client's keep-alive has found out.
	must(t, syscall.Kill(etcd.Members[1].Pid(), syscall.SIGSTOP))
	began, hung := time.Now(), 0
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for i := 0; time.Since(began) < 75*time.Second; i++ {
		at := time.Now()
		if err := write(t, three, "frozen-"+strconv.Itoa(i)); err != nil || time.Since(at) > time.Second {
			hung++
			t.Logf("one of three frozen for %s: a write took %s: %v", time.Since(began), time.Since(at), err)
		}
		<-pace.C
	}
	t.Logf("one of three frozen: %d writes of 75 s took more than a second", hung)
	must(t, syscall.Kill(etcd.Members[1].Pid(), syscall.SIGCONT))
	etcd.Members[1].WaitHealthy(t)
	etcd.Members[0].Kill(t)

	began = time.Now()
	fresh := apiservertest.Launch(t, apiservertest.Options{Servers: etcd.Endpoints(), PKI: etcd.PKI})
	fresh.WaitReady(t)
	t.Logf("started while the first of three was down: ready after %s", time.Since(began))
}

// Two clusters in one list: kube-apiserver writes to both, and does not notice. That is what a member of a former epoch in
// a list comes to, and why a recovery gives kube-apiserver its own member alone.
func twoClusters(t *testing.T) {
	pki := etcdtest.NewPKI(t, t.TempDir())
	var members []*etcdtest.Member
	var servers []string
	for i := range 2 {
		m := etcdtest.NewMember(t, "m"+strconv.Itoa(i), t.TempDir()+"/data", pki)
		m.Start(t, "--initial-cluster="+m.Name+"="+m.PeerURL, "--initial-cluster-token="+m.Name)
		m.WaitHealthy(t)
		members, servers = append(members, m), append(servers, m.ClientURL)
	}
	s := apiservertest.Launch(t, apiservertest.Options{Servers: servers, PKI: pki})
	// Nothing says that it will ever be ready. Both etcds are written to in any case, as each storage begins to ask.
	etcdtest.Eventually(t, "both clusters to hold what one kube-apiserver wrote", func() (bool, string) {
		_ = write(t, s, "two-"+strconv.FormatInt(time.Now().UnixNano(), 36))
		a, b := keys(t, members[0]), keys(t, members[1])
		return a > 0 && b > 0, fmt.Sprint(a, b)
	})
	t.Logf("keys in the one and in the other: %d, %d; /readyz: %s", keys(t, members[0]), keys(t, members[1]), readyz(s))
	s.Kill()

	before := keys(t, members[1])
	alone := apiservertest.Launch(t, apiservertest.Options{Servers: servers[:1], PKI: pki})
	alone.WaitReady(t)
	for i := range 20 {
		must(t, write(t, alone, "alone-"+strconv.Itoa(i)))
	}
	if now := keys(t, members[1]); now != before {
		t.Errorf("with its own alone, it wrote to the other: %d keys, %d before", now, before)
	}
}

func keys(t *testing.T, m *etcdtest.Member) int64 {
	t.Helper()
	r, err := m.Client(t).Get(etcdtest.Context(t), "/registry/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	must(t, err)
	return r.Count
}

// requests are the Txns that each member was asked for by clients.
func requests(t *testing.T, c *etcdtest.Cluster) []int {
	t.Helper()
	var out []int
	for _, m := range c.Members {
		n := 0
		for line := range strings.Lines(m.Metrics(t)) {
			if rest, ok := strings.CutPrefix(line, `grpc_server_started_total{grpc_method="Txn",`); ok {
				_, v, _ := strings.Cut(rest, "} ")
				f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
				must(t, err)
				n += int(f)
			}
		}
		out = append(out, n)
	}
	return out
}

// connections that a process has to the client ports of each member.
func connections(t *testing.T, pid int, c *etcdtest.Cluster) []int {
	t.Helper()
	inodes := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	must(t, err)
	for _, fd := range fds {
		if link, err := os.Readlink(dir + "/" + fd.Name()); err == nil {
			if inode, ok := strings.CutPrefix(link, "socket:["); ok {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	must(t, err)
	out := make([]int, len(c.Members))
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "01" || !inodes[f[9]] {
			continue
		}
		_, port, _ := strings.Cut(f[2], ":")
		p, err := strconv.ParseInt(port, 16, 32)
		must(t, err)
		for i, m := range c.Members {
			if strings.HasSuffix(m.ClientURL, ":"+strconv.FormatInt(p, 10)) {
				out[i]++
			}
		}
	}
	return out
}

// rss of a process in MB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(v)[0])
			must(t, err)
			return kb / 1024
		}
	}
	return 0
}
