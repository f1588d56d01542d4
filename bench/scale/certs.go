package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// authority is etcd's CA of all nodes.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd-ca"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return authority{cert, key}, err
}

// kubeadm writes etcd's certificates as kubeadm does.
func (a authority) kubeadm(p node.Paths) error {
	dir := p.EtcdPKI()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "ca.crt"), "CERTIFICATE", a.cert.Raw); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, "ca.key"), a.key); err != nil {
		return err
	}
	hosts := []net.IP{net.IPv4(127, 0, 0, 1)}
	for n := 1; n <= most; n++ {
		hosts = append(hosts, net.ParseIP(addressOf(n)))
	}
	for i, name := range []string{"server", "peer", "healthcheck-client", "../apiserver-etcd-client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: filepath.Base(name)},
			NotBefore: a.cert.NotBefore, NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			IPAddresses: hosts, DNSNames: []string{"localhost"},
		}, a.cert, key.Public(), a.key)
		if err != nil {
			return err
		}
		if err := writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der); err != nil {
			return err
		}
		if err := writeKey(filepath.Join(dir, name+".key"), key); err != nil {
			return err
		}
	}
	return nil
}

// operator writes what the operator calls the agents with.
func (a authority) operator(dir string) (pki.Files, error) {
	ca, err := pki.NewCA(a.cert, a.key)
	if err != nil {
		return pki.Files{}, err
	}
	pair, err := ca.Issue(pki.Request{CommonName: "ceo-operator", Role: pki.Operator, Now: time.Now()})
	if err != nil {
		return pki.Files{}, err
	}
	if err := pair.Write(dir, "operator"); err != nil {
		return pki.Files{}, err
	}
	f := pki.Files{Cert: filepath.Join(dir, "operator.crt"), Key: filepath.Join(dir, "operator.key"), CA: filepath.Join(dir, "ca.crt")}
	return f, writePEM(f.CA, "CERTIFICATE", a.cert.Raw)
}

// client is what the load calls etcd with.
func client(p node.Paths) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(p.EtcdPKI(), "healthcheck-client.crt"), filepath.Join(p.EtcdPKI(), "healthcheck-client.key"))
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(p.EtcdPKI(), "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
