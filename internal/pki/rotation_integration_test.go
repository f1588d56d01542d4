//go:build integration

package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki/rotation"
)

// tlsNode is a node with kubeadm's files and a real etcd on them.
type tlsNode struct {
	paths  node.Paths
	member *etcdtest.Member
	host   Host
	files  sync.Mutex // one change at a time, as the agent has it
}

// tlsCluster is three of them, of one CA, and who writes to them.
type tlsCluster struct {
	nodes []*tlsNode
	life  time.Duration

	mu sync.Mutex
	// cert and roots are a kube-apiserver's: the pair is read at each handshake, the CAs at its start.
	roots  *x509.CertPool
	loaded []string

	written, retried atomic.Int64
}

func newTLSCluster(t *testing.T, life time.Duration) *tlsCluster {
	t.Helper()
	c := &tlsCluster{life: life}
	ca := newAuthority(t, time.Now().AddDate(10, 0, 0))
	var initial []string
	for i := range 3 {
		name := fmt.Sprintf("cp-%d", i+1)
		n := &tlsNode{paths: node.Paths{Root: t.TempDir()}, host: Host{Name: name, Address: "127.0.0.1", Life: life}}
		ca.writeCA(t, n.paths)
		for _, l := range Leaves() {
			cert := healthcheckClient()
			cert.Subject.CommonName = l.CommonName
			if l.Serves {
				cert = etcdServer()
			}
			cert.NotAfter = time.Now().Add(life)
			writeLeaf(t, n.paths, l, ca.sign(t, cert))
		}
		n.renew(t)
		dir := n.paths.EtcdPKI()
		n.member = etcdtest.NewMember(t, name, filepath.Join(n.paths.Root, "data"), &etcdtest.PKI{
			CA: filepath.Join(dir, "ca.crt"), ServerCert: filepath.Join(dir, "server.crt"), ServerKey: filepath.Join(dir, "server.key"),
		})
		// The last one of a flag counts.
		n.member.Args = []string{"--peer-cert-file=" + filepath.Join(dir, "peer.crt"), "--peer-key-file=" + filepath.Join(dir, "peer.key")}
		initial = append(initial, name+"="+n.member.PeerURL)
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.member.Start(t, "--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-token="+t.Name(), "--initial-cluster-state=new")
	}
	for _, n := range c.nodes {
		n.member.WaitHealthy(t)
	}
	c.restartClient(t)
	return c
}

func (n *tlsNode) renew(t testing.TB) {
	n.files.Lock()
	defer n.files.Unlock()
	h := n.host
	h.Now = time.Now()
	for _, r := range Renew(n.paths, h) {
		if r.Err != nil {
			t.Errorf("%s on %s: %v", r.Name, h.Name, r.Err)
		}
	}
}

func (n *tlsNode) change(f func() error) error {
	n.files.Lock()
	defer n.files.Unlock()
	return f()
}

// restartClient is what a restart of kube-apiserver does: the bundle is read.
func (c *tlsCluster) restartClient(t testing.TB) {
	t.Helper()
	bundle, err := Bundle(c.nodes[0].paths.EtcdPKI())
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roots, c.loaded = x509.NewCertPool(), nil
	for _, ca := range bundle {
		c.roots.AddCert(ca)
		c.loaded = append(c.loaded, Fingerprint(ca))
	}
}

func (c *tlsCluster) dial() (*clientv3.Client, error) {
	f := LeafFiles(c.nodes[0].paths, "apiserver-etcd-client")
	c.mu.Lock()
	roots := c.roots
	c.mu.Unlock()
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, n.member.ClientURL)
	}
	return clientv3.New(clientv3.Config{Endpoints: urls, Logger: zap.NewNop(), TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			return &cert, err
		},
	}})
}

// write puts one key over a new connection, so each is a handshake with one member at least.
func (c *tlsCluster) write(ctx context.Context, i int64) error {
	cli, err := c.dial()
	if err != nil {
		return err
	}
	defer func() { _ = cli.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = cli.Put(ctx, "key", fmt.Sprint(i))
	return err
}

// background renews as the agents do and writes all the time, until the test calls what is returned. A write may fail
// once, and be tried again.
func (c *tlsCluster) background(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		wg.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(CheckEvery(c.life)):
					n.renew(t)
				}
			}
		})
		wg.Go(func() {
			f := LeafFiles(n.paths, "etcd/server")
			for ctx.Err() == nil {
				if _, err := tls.LoadX509KeyPair(f.Cert, f.Key); err != nil {
					t.Errorf("half a pair was to be seen: %v", err)
				}
				time.Sleep(time.Millisecond) // reads as often as a busy etcd would
			}
		})
	}
	wg.Go(func() {
		for i := int64(1); ctx.Err() == nil; i++ {
			err := c.write(ctx, i)
			if err != nil && ctx.Err() == nil {
				c.retried.Add(1)
				t.Logf("write %d is tried again: %v", i, err)
				err = c.write(ctx, i)
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("write %d failed twice: %v", i, err)
			}
			c.written.Add(1)
		}
	})
	return func() {
		cancel()
		wg.Wait()
		t.Logf("%d writes, %d tried again", c.written.Load(), c.retried.Load())
		if c.written.Load() == 0 {
			t.Error("nothing was written")
		}
	}
}

// Certificates of seconds are renewed several times over under a writer that shakes hands anew each time.
func TestLeavesAreRenewedUnderLoad(t *testing.T) {
	c := newTLSCluster(t, 20*time.Second)
	first := leafOnDisk(t, c.nodes[0].paths, Leaves()[0]).NotAfter
	stop := c.background(t)
	etcdtest.Eventually(t, "the first certificates to be over for long", func() (bool, string) {
		return time.Now().After(first.Add(c.life)), time.Until(first.Add(c.life)).String()
	})
	stop()
	if c.retried.Load() > 0 {
		t.Errorf("%d writes had to be tried again, though no member was restarted", c.retried.Load())
	}
}

// report is what an agent reports.
func (c *tlsCluster) report(t *testing.T, n *tlsNode) rotation.Node {
	t.Helper()
	s, err := ReadCAState(n.paths)
	if err != nil {
		t.Fatal(err)
	}
	out := rotation.Node{Name: n.host.Name, Signing: s.Signing, Target: s.Target}
	for _, ca := range s.Trusted {
		out.Trusted = append(out.Trusted, Fingerprint(ca))
	}
	for _, l := range s.Leaves {
		out.Leaves = append(out.Leaves, rotation.Leaf{Name: l.Name, SignedBy: l.SignedBy})
	}
	kept, err := KeptCAs(n.paths)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []struct{ url, pair string }{{n.member.ClientURL, "etcd/healthcheck-client"}, {n.member.PeerURL, "etcd/peer"}} {
		trusts, err := AskTrust(t.Context(), port.url, LeafFiles(n.paths, port.pair), append(kept, s.Trusted...))
		if err != nil {
			out.Unknown = err.Error()
		}
		out.EtcdTrusts = trusts
	}
	if n == c.nodes[0] {
		c.mu.Lock()
		loaded := slices.Clone(c.loaded)
		c.mu.Unlock()
		slices.Sort(loaded)
		out.APIServerStale = !slices.Equal(loaded, slices.Sorted(slices.Values(out.Trusted)))
	}
	return out
}

// etcd's CA is changed under a writer, as rotation.Decide says, one member restarted at a time; kubeadm finds a CA that it
// can sign with after every step.
func TestCAIsChangedUnderLoad(t *testing.T) {
	c := newTLSCluster(t, time.Minute)
	next, err := MakeCA(time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := Fingerprint(leaf(t, next))
	// The wrong order is refused.
	if err := SignWithCA(c.nodes[0].paths, fingerprint); err == nil {
		t.Fatal("a node signs with a CA that it does not trust")
	}
	old, err := ReadCAState(c.nodes[0].paths)
	if err != nil {
		t.Fatal(err)
	}
	if err := ForgetCA(c.nodes[0].paths, old.Signing); err == nil {
		t.Fatal("a node forgets the CA that it signs with")
	}
	stop := c.background(t)
	kinds := map[rotation.Kind]int{}
	for range 200 {
		var reports []rotation.Node
		for _, n := range c.nodes {
			reports = append(reports, c.report(t, n))
		}
		a := rotation.Decide(fingerprint, reports)
		t.Logf("%s: %s", a.Kind, a.Reason)
		kinds[a.Kind]++
		if a.Kind == rotation.Done {
			break
		}
		if a.Kind == rotation.Wait {
			time.Sleep(200 * time.Millisecond) // a busy machine: an etcd that did not answer in time is unknown
			continue
		}
		i := slices.IndexFunc(c.nodes, func(n *tlsNode) bool { return n.host.Name == a.Node })
		n := c.nodes[i]
		switch a.Kind {
		case rotation.Trust:
			err = n.change(func() error { return TrustCA(n.paths, next, "") })
		case rotation.Sign:
			err = n.change(func() error { return SignWithCA(n.paths, a.CA) })
			n.renew(t)
		case rotation.Forget:
			err = n.change(func() error { return ForgetCA(n.paths, a.CA) })
		case rotation.RestartEtcd:
			n.member.Stop(t)
			n.member.Start(t)
			n.member.WaitHealthy(t)
		case rotation.RestartAPIServer:
			c.restartClient(t)
		}
		if err != nil {
			t.Fatal(err)
		}
		kubeadmCanSign(t, n.paths)
	}
	stop()
	if kinds[rotation.Done] != 1 || kinds[rotation.RestartEtcd] != 6 || kinds[rotation.Trust] != 3 || kinds[rotation.Sign] != 3 || kinds[rotation.Forget] != 3 {
		t.Errorf("steps: %v", kinds)
	}
	for _, n := range c.nodes {
		if _, err := os.Stat(keptCA(n.paths, old.Signing) + ".key"); err != nil {
			t.Errorf("the former CA's key is not kept: %v", err)
		}
		for _, l := range Leaves() {
			if by := leafOnDisk(t, n.paths, l); by.CheckSignatureFrom(leaf(t, next)) != nil {
				t.Errorf("%s of %s is not signed by the new CA", l.Name, n.host.Name)
			}
		}
	}
}

// kubeadmCanSign: kubeadm takes the first certificate of ca.crt and ca.key.
func kubeadmCanSign(t *testing.T, p node.Paths) {
	t.Helper()
	cert, err := readCertificate(filepath.Join(p.EtcdPKI(), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseKey(readFile(t, filepath.Join(p.EtcdPKI(), "ca.key")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCA(cert, key); err != nil {
		t.Errorf("kubeadm could not sign: %v", err)
	}
}
