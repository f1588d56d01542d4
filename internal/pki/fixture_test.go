package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// authority is a CA like etcd's, that can also sign what CA.Issue would not.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, notAfter time.Time) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd-ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// sign makes a pair from any template.
func (a authority) sign(t testing.TB, template *x509.Certificate) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a.signFor(t, template, key)
}

func (a authority) signFor(t testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) Pair {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(2)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}),
	}
}

// writeCA puts the CA where kubeadm has etcd's.
func (a authority) writeCA(t testing.TB, p node.Paths) {
	t.Helper()
	raw, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	pair := Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}),
	}
	if err := pair.Write(p.EtcdPKI(), "ca"); err != nil {
		t.Fatal(err)
	}
}

// newNode is a node with an etcd CA and an agent's certificate.
func newNode(t testing.TB) (node.Paths, authority) {
	t.Helper()
	p := node.Paths{Root: t.TempDir()}
	a := newAuthority(t, time.Now().AddDate(10, 0, 0))
	a.writeCA(t, p)
	if why, err := EnsureAgent(p, "cp-1", "127.0.0.1", time.Now()); err != nil || why == "" {
		t.Fatalf("agent's certificate: %q %v", why, err)
	}
	return p, a
}

// files writes a pair and names it together with the CA.
func files(t testing.TB, p node.Paths, name string, pair Pair) Files {
	t.Helper()
	dir := filepath.Join(p.Root, "callers")
	if err := pair.Write(dir, name); err != nil {
		t.Fatal(err)
	}
	return Files{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"), CA: filepath.Join(p.EtcdPKI(), "ca.crt")}
}

func issue(t testing.TB, p node.Paths, r Role) Pair {
	t.Helper()
	ca, err := LoadCA(p.EtcdPKI())
	if err != nil {
		t.Fatal(err)
	}
	req := Request{CommonName: "someone", Role: r, Now: time.Now()}
	if r == Agent {
		req.Hosts = AgentHosts("cp-2", "127.0.0.1")
	}
	pair, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// healthcheckClient is a certificate as kubeadm makes it for clients of etcd.
func healthcheckClient() *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: "kube-etcd-healthcheck-client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// etcdServer is a certificate as kubeadm makes it for etcd: it names the same hosts as the agent's.
func etcdServer() *x509.Certificate {
	t := healthcheckClient()
	t.Subject.CommonName = "cp-1"
	t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	t.DNSNames = []string{"cp-1", "localhost"}
	t.IPAddresses = template(Request{Role: Agent, Hosts: []string{"127.0.0.1", "::1"}}, t).IPAddresses
	return t
}

func mode(t testing.TB, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
