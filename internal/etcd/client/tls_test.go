package client

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHealthcheckTLS(t *testing.T) {
	dir := t.TempDir()
	if c, err := HealthcheckTLS(dir); c != nil || err != nil {
		t.Errorf("an etcd without TLS: %v %v", c, err)
	}
	// A missing CA beside a certificate is an error: plain http would be tried
	// against an etcd that has TLS.
	cert := filepath.Join(dir, "healthcheck-client.crt")
	if err := os.WriteFile(cert, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := HealthcheckTLS(dir); err == nil {
		t.Error("no CA, and no error")
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := HealthcheckTLS(dir); err == nil {
		t.Error("a CA without a certificate, and no error")
	}
}
