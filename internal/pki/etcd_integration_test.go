//go:build integration

package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// Real etcd, with the flags that kubeadm gives it, takes kubeadm's client certificates and none of ours. Were this ever
// to fail, every viewer would be root on etcd.
func TestRealEtcdRefusesOurCertificates(t *testing.T) {
	bin := filepath.Join(etcdtest.BinDir(t), "etcd")
	p, a := newNode(t)
	server := files(t, p, "server", a.sign(t, etcdServer()))
	client, peer := "https://"+etcdtest.FreeAddr(t), "http://"+etcdtest.FreeAddr(t)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, //nolint:gosec // the binary under test
		"--name=cp-1", "--data-dir="+filepath.Join(p.Root, "data"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=cp-1="+peer,
		"--client-cert-auth=true", "--trusted-ca-file="+server.CA, "--cert-file="+server.Cert, "--key-file="+server.Key)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	get := func(f Files, limit time.Duration) error {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return err
		}
		ca, err := os.ReadFile(f.CA)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		c, err := clientv3.New(clientv3.Config{
			Endpoints: []string{client}, Logger: zap.NewNop(),
			TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		})
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		_, err = c.Get(ctx, "key")
		return err
	}
	if err := get(files(t, p, "healthcheck-client", a.sign(t, healthcheckClient())), 30*time.Second); err != nil {
		t.Fatalf("etcd refuses kubeadm's client: %v", err)
	}
	for _, role := range Roles() {
		t.Run(string(role), func(t *testing.T) {
			if err := get(files(t, p, "ours-"+string(role), issue(t, p, role)), 2*time.Second); err == nil {
				t.Errorf("etcd takes the certificate of a %s", role)
			}
			// It is the handshake that fails, not the request.
			if _, err := rawCall(client, files(t, p, "raw-"+string(role), issue(t, p, role))); err == nil {
				t.Errorf("etcd lets a %s through its handshake", role)
			}
		})
	}
	if _, err := rawCall(client, files(t, p, "raw", a.sign(t, healthcheckClient()))); err != nil {
		t.Errorf("the handshake fails for kubeadm's client as well, so the refusals above prove nothing: %v", err)
	}
}

// rawCall does a handshake and one HTTP request.
func rawCall(url string, f Files) (string, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return "", err
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", url[len("https://"):],
		&tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}) //nolint:gosec // etcd's verdict is what is asked for
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "GET /version HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}
