package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// AskTrust asks a running etcd which of the known CAs it verifies its callers with: a TLS server names them when it asks
// for a certificate. etcd reads its CA file when it starts and never again, so this, and no file, says what it trusts. The
// pair is shown so that the handshake ends well: etcd logs each one that does not.
func AskTrust(ctx context.Context, from string, pair Files, known []*x509.Certificate) ([]string, error) {
	u, err := url.Parse(from)
	if err != nil {
		return nil, fmt.Errorf("ask etcd whom it trusts: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("ask etcd at %s whom it trusts: %w", u.Host, err)
	}
	defer func() { _ = raw.Close() }()
	var subjects [][]byte
	asked := false
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, //nolint:gosec // nothing is told to it, and what it says decides only whether it is restarted
		GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked, subjects = true, r.AcceptableCAs
			if cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key); err == nil {
				return &cert, nil
			}
			return &tls.Certificate{}, nil
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil && !asked {
		return nil, fmt.Errorf("ask etcd at %s whom it trusts: %w", u.Host, err)
	}
	if !asked {
		return nil, fmt.Errorf("ask etcd at %s whom it trusts: it asks for no certificate", u.Host)
	}
	var out []string
	for _, ca := range known {
		for _, s := range subjects {
			if f := Fingerprint(ca); string(s) == string(ca.RawSubject) && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// LeafFiles are those of one of kubeadm's leaves, by its name.
func LeafFiles(p node.Paths, name string) Files {
	l := Leaf{Name: name}
	return Files{Cert: leafPath(p, l, ".crt"), Key: leafPath(p, l, ".key"), CA: filepath.Join(p.EtcdPKI(), "ca.crt")}
}

// KeptCAs are all that changes of the CA on this node knew.
func KeptCAs(p node.Paths) ([]*x509.Certificate, error) {
	entries, err := os.ReadDir(p.EtcdCAs())
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("former CAs: %w", err)
	}
	var out []*x509.Certificate
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".crt") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		cert, err := readCertificate(filepath.Join(p.EtcdCAs(), e.Name()))
		if err != nil {
			return nil, fmt.Errorf("former CAs: %w", err)
		}
		out = append(out, cert)
	}
	return out, nil
}
