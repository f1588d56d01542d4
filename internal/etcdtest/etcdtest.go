// Package etcdtest runs real etcd processes for tests: on loopback, on free ports, with bounded waits, killed at the
// end of the test. The binaries are those of the lab's cache (`make deps`), or of the folder that CEO_ETCD_BIN names.
package etcdtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Version of etcd that the tests run against.
const Version = "3.7.3"

// WaitFor bounds each wait: generous, for a machine with two busy cores.
const WaitFor = 2 * time.Minute

// Options of a cluster.
type Options struct {
	Members int      // default 1
	TLS     bool     // mTLS on the client and peer ports
	Args    []string // more flags for each etcd
	Bin     string   // folder of another etcd than BinDir's
}

// Cluster is a running etcd cluster.
type Cluster struct {
	Members []*Member
	PKI     *PKI // nil without TLS
	Token   string
}

// BinDir is where etcd, etcdctl and etcdutl are; the test fails when they are not there.
func BinDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("CEO_ETCD_BIN")
	if dir == "" {
		cache, err := cacheDir()
		if err != nil {
			t.Fatalf("etcdtest: %v; set CEO_ETCD_BIN to the folder of the etcd binaries", err)
		}
		dir = filepath.Join(cache, "etcd-v"+Version, "bin")
	}
	if _, err := os.Stat(filepath.Join(dir, "etcd")); err != nil {
		t.Fatalf("etcdtest: no etcd in %s: run `make deps`, or set CEO_ETCD_BIN to the folder of the etcd binaries", dir)
	}
	return dir
}

// Start brings up a new cluster and waits until each member says that it is healthy.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Members == 0 {
		o.Members = 1
	}
	c := &Cluster{Token: fmt.Sprintf("etcdtest-%d-%d", os.Getpid(), time.Now().UnixNano())}
	if o.TLS {
		c.PKI = NewPKI(t, t.TempDir())
	}
	var initial []string
	for i := range o.Members {
		m := NewMember(t, fmt.Sprintf("m%d", i+1), filepath.Join(t.TempDir(), "data"), c.PKI)
		m.Args, m.Bin = o.Args, o.Bin
		c.Members = append(c.Members, m)
		initial = append(initial, m.Name+"="+m.PeerURL)
	}
	for _, m := range c.Members {
		m.Start(t, "--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-token="+c.Token,
			"--initial-cluster-state=new")
	}
	for _, m := range c.Members {
		m.WaitHealthy(t)
	}
	return c
}

// Endpoints are the client URLs of all members.
func (c *Cluster) Endpoints() []string {
	var eps []string
	for _, m := range c.Members {
		eps = append(eps, m.ClientURL)
	}
	return eps
}

// Client talks to all members; closed at the end of the test.
func (c *Cluster) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return newClient(t, c.Endpoints(), c.PKI)
}

func newClient(t testing.TB, endpoints []string, pki *PKI) *clientv3.Client {
	t.Helper()
	var tlsConfig *tls.Config
	if pki != nil {
		tlsConfig = pki.ClientTLS(t)
	}
	cli, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: WaitFor, TLS: tlsConfig, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatalf("etcdtest: client of %v: %v", endpoints, err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	return cli
}

// Context ends with WaitFor and with the test.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), WaitFor)
	t.Cleanup(cancel)
	return ctx
}

// Eventually polls until the condition holds; what names it in the failure.
func Eventually(t testing.TB, what string, condition func() (done bool, state string)) {
	t.Helper()
	deadline := time.Now().Add(WaitFor)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		done, state := condition()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("etcdtest: waited %s for %s; last seen: %s", WaitFor, what, state)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("etcdtest: the test ended while it waited for %s", what)
		}
	}
}
