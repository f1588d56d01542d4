//go:build integration

package operator_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator"
	"clusteretcd.io/ceo/internal/pki"
)

// world is a kube-apiserver with the CRDs, and a CA that all nodes share.
type world struct {
	api    *apiservertest.Server
	client client.WithWatch
	caCert *x509.Certificate
	caKey  *ecdsa.PrivateKey
	certs  string // the operator's
	writes atomic.Int64
	mu     sync.Mutex
	wrote  []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{certs: t.TempDir()}
	w.newCA(t)
	w.newOperatorCerts(t)
	w.serve(t, apiservertest.Start(t))
	return w
}

// serve takes an apiserver for the world's.
func (w *world) serve(t *testing.T, api *apiservertest.Server) {
	t.Helper()
	w.api = api
	w.api.InstallCRDs(t, "../../charts/ceo/crds")
	scheme, err := operator.Scheme()
	must(t, err)
	w.client, err = client.NewWithWatch(w.api.Config, client.Options{Scheme: scheme})
	must(t, err)
}

func (w *world) newOperatorCerts(t testing.TB) {
	t.Helper()
	ca, err := pki.NewCA(w.caCert, w.caKey)
	must(t, err)
	pair, err := ca.Issue(pki.Request{CommonName: "ceo-operator", Role: pki.Operator, Now: time.Now()})
	must(t, err)
	must(t, pair.Write(w.certs, "operator"))
	writePEM(t, filepath.Join(w.certs, "ca.crt"), "CERTIFICATE", w.caCert.Raw)
}

// start runs an operator until the test ends or stop is called, which waits for its end.
func (w *world) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	config := rest.CopyConfig(w.api.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			// The lease of the leader is the one thing that is always written.
			if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases") {
				w.writes.Add(1)
				w.mu.Lock()
				w.wrote = append(w.wrote, r.Method+" "+r.URL.Path)
				w.mu.Unlock()
			}
			return next.RoundTrip(r)
		})
	})
	o := operator.Options{
		Config: config, Certs: w.certs, MetricsAddress: "0", HealthAddress: "0", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Every: 200 * time.Millisecond, CataloguesEvery: 2 * time.Second, Grace: time.Millisecond, InspectLimit: 1200 * time.Millisecond,
		RolloutBound: 20 * time.Second,
		UnledEvery:   200 * time.Millisecond, UnledAfter: 2 * time.Second, HashAfter: time.Millisecond,
	}
	go func() { done <- operator.Run(ctx, o) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the operator ended: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// lastWrites for a failure's message.
func (w *world) lastWrites() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrote[max(0, len(w.wrote)-8):]
}

func (w *world) newNode(t *testing.T, name, address string) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}}}
	must(t, w.client.Create(etcdtest.Context(t), n))
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	must(t, w.client.Status().Update(etcdtest.Context(t), n))
}

func (w *world) newCluster(t *testing.T) {
	t.Helper()
	must(t, w.client.Create(etcdtest.Context(t), &v1alpha1.EtcdCluster{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ClusterName}}))
}

func (w *world) cluster(t *testing.T) v1alpha1.EtcdCluster {
	t.Helper()
	var c v1alpha1.EtcdCluster
	must(t, w.client.Get(etcdtest.Context(t), client.ObjectKey{Name: v1alpha1.ClusterName}, &c))
	return c
}

func (w *world) newCA(t testing.TB) {
	t.Helper()
	var err error
	w.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd-ca"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, w.caKey.Public(), w.caKey)
	must(t, err)
	w.caCert, err = x509.ParseCertificate(der)
	must(t, err)
}

// kubeadmPKI writes etcd's certificates as kubeadm does, and returns them as etcd takes them.
func (w *world) kubeadmPKI(t testing.TB, p node.Paths) *etcdtest.PKI {
	t.Helper()
	dir := p.EtcdPKI()
	must(t, os.MkdirAll(dir, 0o700))
	writePEM(t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", w.caCert.Raw)
	writeKey(t, filepath.Join(dir, "ca.key"), w.caKey)
	for i, name := range []string{"server", "peer", "healthcheck-client", "../apiserver-etcd-client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: filepath.Base(name)},
			NotBefore: w.caCert.NotBefore, NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			IPAddresses: nodeIPs(), DNSNames: []string{"localhost"},
		}, w.caCert, key.Public(), w.caKey)
		must(t, err)
		writePEM(t, filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
		writeKey(t, filepath.Join(dir, name+".key"), key)
	}
	return &etcdtest.PKI{
		CA: filepath.Join(dir, "ca.crt"), ServerCert: filepath.Join(dir, "server.crt"), ServerKey: filepath.Join(dir, "server.key"),
		ClientCert: filepath.Join(dir, "healthcheck-client.crt"), ClientKey: filepath.Join(dir, "healthcheck-client.key"),
	}
}

// nodeIPs are all that a node of a test can have.
func nodeIPs() []net.IP {
	out := []net.IP{net.IPv4(127, 0, 0, 1)}
	for i := range 7 {
		out = append(out, net.IPv4(10, 99, 0, byte(11+i)))
	}
	return out
}

func writeKey(t testing.TB, path string, key *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	writePEM(t, path, "PRIVATE KEY", der)
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
