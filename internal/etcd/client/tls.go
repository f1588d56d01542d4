package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// HealthcheckTLS is the client configuration that kubeadm leaves on every
// control-plane node: the health-check client's certificate and etcd's CA. It
// is nil when none of the files is there: an etcd without TLS. The files are
// read anew at each call, so that a rotation needs no restart.
func HealthcheckTLS(dir string) (*tls.Config, error) {
	ca, cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "healthcheck-client.crt"), filepath.Join(dir, "healthcheck-client.key")
	pem, err := os.ReadFile(ca) //nolint:gosec // a fixed name below the PKI folder
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(cert); errors.Is(err, fs.ErrNotExist) {
			return nil, nil //nolint:nilnil // no TLS is an answer here, and tls.Config's nil says it
		}
	}
	if err != nil {
		return nil, fmt.Errorf("etcd's CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("etcd's CA: no certificate in %s", ca)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("etcd's health-check client certificate: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
