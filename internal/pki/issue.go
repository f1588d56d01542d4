package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/durable"
)

// Lifetime of an issued certificate, as kubeadm's.
const Lifetime = 365 * 24 * time.Hour

// CA signs certificates. Its key never leaves it.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// LoadCA reads etcd's CA from kubeadm's folder of etcd certificates. While the CA is changed, ca.crt is a bundle: the one
// that signs is the one that ca.key belongs to. kubeadm takes the first; between the two files of a change that is another
// one for a moment, and kubeadm's signing fails then.
func LoadCA(etcdPKI string) (*CA, error) {
	certPath, keyPath := filepath.Join(etcdPKI, "ca.crt"), filepath.Join(etcdPKI, "ca.key")
	bundle, err := readBundle(certPath)
	if err != nil {
		return nil, fmt.Errorf("etcd's CA: %w", err)
	}
	raw, err := os.ReadFile(keyPath) //nolint:gosec // the caller names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("etcd's CA: its key %s is not on this node (an external CA?): put it there to issue the agent's certificates: %w", keyPath, err)
	}
	if err != nil {
		return nil, fmt.Errorf("etcd's CA: %w", err)
	}
	key, err := parseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("etcd's CA: %s: %w", keyPath, err)
	}
	for _, cert := range bundle {
		if belongs(cert, key) {
			return NewCA(cert, key)
		}
	}
	return NewCA(bundle[0], key)
}

func belongs(cert *x509.Certificate, key crypto.Signer) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(cert.PublicKey)
}

// NewCA checks that certificate and key belong together and may sign.
func NewCA(cert *x509.Certificate, key crypto.Signer) (*CA, error) {
	if !cert.IsCA {
		return nil, fmt.Errorf("certificate %q is no CA", cert.Subject.CommonName)
	}
	if !belongs(cert, key) {
		return nil, fmt.Errorf("CA %q: its key belongs to another certificate", cert.Subject.CommonName)
	}
	return &CA{cert: cert, key: key}, nil
}

// Request is what a certificate is asked for.
type Request struct {
	CommonName string
	Role       Role
	// Hosts are the names and addresses under which an agent serves. Only the role Agent has them: whoever holds a
	// certificate with them can be taken for that agent.
	Hosts []string
	// Now is when the certificate is issued; it lives for Life (0: Lifetime), but never longer than its CA.
	Now  time.Time
	Life time.Duration
}

// Pair is a certificate and its key, PEM-encoded.
type Pair struct {
	Cert []byte
	// Key is secret: it is written to files of mode 0600 and nowhere else.
	Key []byte
}

// Issue makes a new ECDSA P-256 key and a certificate for it.
func (ca *CA) Issue(r Request) (Pair, error) {
	if _, err := ParseRole(string(r.Role)); err != nil {
		return Pair{}, fmt.Errorf("issue a certificate for %s: %w", r.CommonName, err)
	}
	if (r.Role == Agent) != (len(r.Hosts) > 0) {
		return Pair{}, fmt.Errorf("issue a certificate for %s: the role agent, and no other, needs host names", r.CommonName)
	}
	if r.Now.After(ca.cert.NotAfter) {
		return Pair{}, fmt.Errorf("issue a certificate for %s: CA %q expired on %s: renew the CA first (P9)", r.CommonName, ca.cert.Subject.CommonName, ca.cert.NotAfter.Format(time.DateOnly))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key for %s: %w", r.CommonName, err)
	}
	cert, err := ca.sign(template(r, ca.cert), key.Public())
	if err != nil {
		return Pair{}, fmt.Errorf("issue a certificate for %s: %w", r.CommonName, err)
	}
	raw, err := encodeKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("issue a certificate for %s: %w", r.CommonName, err)
	}
	return Pair{Cert: cert, Key: raw}, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// sign makes a certificate of the template, with a serial number of its own, PEM.
func (ca *CA) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign with CA %q: %w", ca.cert.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// template never carries ExtKeyUsageClientAuth: with it, every role would be root on etcd.
func template(r Request, ca *x509.Certificate) *x509.Certificate {
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.CommonName, Organization: []string{r.Role.Organization()}},
		NotBefore:             notBefore(r.Now, r.Life, ca),
		NotAfter:              r.Now.Add(lifeOr(r.Life)),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	t.UnknownExtKeyUsage = append(t.UnknownExtKeyUsage, UsageOID())
	if t.NotAfter.After(ca.NotAfter) {
		t.NotAfter = ca.NotAfter
	}
	if len(r.Hosts) > 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t
}

// Write puts the pair into dir as NAME.key and NAME.crt, root-only. The key goes first: a certificate without its key is
// found at once by Ensure, a key of another certificate as well.
func (p Pair) Write(dir, name string) error {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write certificate %s: %w", name, err)
	}
	if err := durable.WriteFile(filepath.Join(dir, name+".key"), p.Key, 0o600); err != nil {
		return fmt.Errorf("write certificate %s: %w", name, err)
	}
	if err := durable.WriteFile(filepath.Join(dir, name+".crt"), p.Cert, 0o600); err != nil {
		return fmt.Errorf("write certificate %s: %w", name, err)
	}
	return nil
}

func readCertificate(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, err
	}
	cert, err := ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// ParseCertificate reads the first certificate of a PEM text.
func ParseCertificate(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("holds no PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// parseKey reads a PEM key in any form that kubeadm or openssl writes. Its errors never quote the key.
func parseKey(raw []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the key cannot be parsed: %w", err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a key of type %T cannot sign", key)
		}
		return signer, nil
	}
	return nil, errors.New("holds no PEM private key")
}
