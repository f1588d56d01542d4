package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"clusteretcd.io/ceo/internal/durable"
)

// Fingerprint names a certificate: SHA-256 of its DER form, hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Bundle reads every certificate of etcd's ca.crt, in its order.
func Bundle(etcdPKI string) ([]*x509.Certificate, error) {
	return readBundle(filepath.Join(etcdPKI, "ca.crt"))
}

func readBundle(path string) ([]*x509.Certificate, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, err
	}
	out, err := parseBundle(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

func parseBundle(raw []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return out, nil
}

func encodeBundle(certs []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes everything
	}
	return b.Bytes()
}

// owner of a file; -1 leaves it.
type owner struct{ uid, gid int }

func ownerOf(info fs.FileInfo) owner {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return owner{int(st.Uid), int(st.Gid)}
	}
	return owner{-1, -1}
}

// place puts data at path by one rename, with its mode and owner set before: whoever opens the file by its name sees the
// old one or the new one whole, and never one that it may not read.
func place(path string, data []byte, mode fs.FileMode, o owner) error {
	// A dot in front, no known ending: nobody takes it for a certificate. Of its own, for the agent and `ceo node install`
	// may both be at it.
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".ceo-next-"+rand.Text())
	if err := durable.WriteFile(next, data, mode); err != nil {
		return err
	}
	err := os.Chown(next, o.uid, o.gid)
	if err != nil {
		err = fmt.Errorf("give %s to user %d: %w", path, o.uid, err)
	} else if err = durable.SyncFile(next); err == nil {
		err = durable.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next) // gone already where the rename was what came about
	}
	return err
}

// replace is place with the mode and owner that the file has now, or mode where there is none.
func replace(path string, data []byte, mode fs.FileMode) error {
	o := owner{-1, -1}
	if info, err := os.Stat(path); err == nil {
		mode, o = info.Mode().Perm(), ownerOf(info)
	}
	return place(path, data, mode, o)
}
