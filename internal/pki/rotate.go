package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// CALifetime is that of a new CA, as kubeadm's.
const CALifetime = 10 * Lifetime

// ErrOutOfOrder is the error of a step of a change of the CA that would leave somebody unable to verify somebody else.
var ErrOutOfOrder = errors.New("out of order")

// MakeCA makes a CA in place of etcd's. Its subject differs from every other's: that is how a running etcd is asked whom
// it trusts, and how a chain is found without trying.
func MakeCA(now time.Time, life time.Duration) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a CA: %w", err)
	}
	return makeCAOf(key, now, life)
}

// makeCAOf makes a CA of a key.
func makeCAOf(key crypto.Signer, now time.Time, life time.Duration) (Pair, error) {
	if life <= 0 {
		life = CALifetime
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Pair{}, fmt.Errorf("make a CA: %w", err)
	}
	sum := sha256.Sum256(public)
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, fmt.Errorf("make a CA: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "etcd-ca", SerialNumber: hex.EncodeToString(sum[:8])},
		NotBefore:    now.Add(-backdate(life)), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		IsCA:     true, BasicConstraintsValid: true, SubjectKeyId: sum[:20],
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return Pair{}, fmt.Errorf("make a CA: %w", err)
	}
	raw, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: raw}, nil
}

// TrustKnownCA is TrustCA for a CA that is on this node already.
func TrustKnownCA(p node.Paths, fingerprint, reason string) error {
	var next Pair
	var err error
	if next.Cert, err = os.ReadFile(keptCA(p, fingerprint) + ".crt"); err == nil {
		next.Key, err = os.ReadFile(keptCA(p, fingerprint) + ".key")
	}
	if err != nil {
		return fmt.Errorf("trust CA %.12s: this node was never given it: %w", fingerprint, err)
	}
	return TrustCA(p, next, reason)
}

// TrustCA is the first step of a change of etcd's CA on a node: the new one goes to the end of the bundle that everybody
// here verifies with, and its key to the node's own folder. kubeadm, which takes the bundle's first certificate and
// ca.key, goes on with the old one. reason is what the change was begun for; it stays on the node, so that whoever asks for
// the same again is told that it is done.
func TrustCA(p node.Paths, next Pair, reason string) error {
	cert, err := ParseCertificate(next.Cert)
	if err != nil {
		return fmt.Errorf("trust a new CA: %w", err)
	}
	key, err := parseKey(next.Key)
	if err != nil {
		return fmt.Errorf("trust a new CA: %w", err)
	}
	if _, err := NewCA(cert, key); err != nil {
		return fmt.Errorf("trust a new CA: %w", err)
	}
	bundle, err := Bundle(p.EtcdPKI())
	if err != nil {
		return fmt.Errorf("trust a new CA: etcd's CA: %w", err)
	}
	for _, have := range bundle {
		if string(have.RawSubject) == string(cert.RawSubject) && !have.Equal(cert) {
			return fmt.Errorf("trust a new CA: one with the subject %q is trusted already, and they could not be told apart", cert.Subject)
		}
	}
	// The present one is kept first: from here on nothing is lost whatever happens to the files.
	old, err := LoadCA(p.EtcdPKI())
	if err != nil {
		return fmt.Errorf("trust a new CA: %w", err)
	}
	oldKey, err := os.ReadFile(filepath.Join(p.EtcdPKI(), "ca.key"))
	if err != nil {
		return fmt.Errorf("trust a new CA: %w", err)
	}
	if err := keepCA(p, old.cert, oldKey); err != nil {
		return err
	}
	if err := keepCA(p, cert, next.Key); err != nil {
		return err
	}
	if err := durable.WriteJSON(rotationFile(p), rotationRecord{Target: Fingerprint(cert), Reason: reason}, 0o600); err != nil {
		return fmt.Errorf("trust a new CA: %w", err)
	}
	if slices.ContainsFunc(bundle, cert.Equal) {
		return nil
	}
	return writeBundle(p, append(bundle, cert))
}

// SignWithCA is the second step: what is issued here is signed by the new CA from now on. Both files change: the key
// first. In between LoadCA finds the certificate of the key in the bundle, and kubeadm refuses to sign at all.
func SignWithCA(p node.Paths, fingerprint string) error {
	bundle, err := Bundle(p.EtcdPKI())
	if err != nil {
		return fmt.Errorf("sign with another CA: %w", err)
	}
	i := slices.IndexFunc(bundle, func(c *x509.Certificate) bool { return Fingerprint(c) == fingerprint })
	if i < 0 {
		return fmt.Errorf("sign with CA %.12s: this node does not trust it yet: %w", fingerprint, ErrOutOfOrder)
	}
	if r, err := durable.ReadJSON[rotationRecord](rotationFile(p)); err != nil || r.Target != fingerprint {
		// An order that was under way since before another change began.
		return fmt.Errorf("sign with CA %.12s: this node was last told of CA %.12s: %w", fingerprint, r.Target, ErrOutOfOrder)
	}
	key, err := os.ReadFile(keptCA(p, fingerprint) + ".key")
	if err != nil {
		return fmt.Errorf("sign with CA %.12s: its key is not on this node: %w", fingerprint, err)
	}
	if ca, err := LoadCA(p.EtcdPKI()); err != nil || Fingerprint(ca.cert) != fingerprint {
		if err := replace(filepath.Join(p.EtcdPKI(), "ca.key"), key, 0o600); err != nil {
			return fmt.Errorf("sign with CA %.12s: %w", fingerprint, err)
		}
	}
	if i == 0 {
		return nil
	}
	first := []*x509.Certificate{bundle[i]}
	return writeBundle(p, append(first, slices.Delete(slices.Clone(bundle), i, i+1)...))
}

// ForgetCA is the last step: an old CA leaves the bundle. Its files stay in the node's own folder.
func ForgetCA(p node.Paths, fingerprint string) error {
	bundle, err := Bundle(p.EtcdPKI())
	if err != nil {
		return fmt.Errorf("forget a CA: %w", err)
	}
	i := slices.IndexFunc(bundle, func(c *x509.Certificate) bool { return Fingerprint(c) == fingerprint })
	if i < 0 {
		return nil
	}
	signing, err := signingCertificate(p.EtcdPKI())
	if err != nil {
		return fmt.Errorf("forget a CA: %w", err)
	}
	if Fingerprint(signing) == fingerprint {
		return fmt.Errorf("forget CA %.12s: this node signs with it: %w", fingerprint, ErrOutOfOrder)
	}
	for _, l := range presented(p, bundle) {
		if l.SignedBy == fingerprint {
			return fmt.Errorf("forget CA %.12s: it signed %s, which is in use: %w", fingerprint, l.Name, ErrOutOfOrder)
		}
	}
	return writeBundle(p, slices.Delete(bundle, i, i+1))
}

// CAState is how far a node is with a change of the CA, as its files say.
type CAState struct {
	Trusted []*x509.Certificate
	Signing string
	Leaves  []SignedLeaf
	// Target is the CA that was last to be trusted here, "" where none ever was.
	Target string
	// Reason is what that was for.
	Reason string
}

// SignedLeaf is a certificate that is served or presented on this node. SignedBy is empty if no CA of the bundle did.
type SignedLeaf struct{ Name, SignedBy string }

// ReadCAState reads it.
func ReadCAState(p node.Paths) (CAState, error) {
	bundle, err := Bundle(p.EtcdPKI())
	if err != nil {
		return CAState{}, fmt.Errorf("etcd's CA: %w", err)
	}
	ca, err := LoadCA(p.EtcdPKI())
	if err != nil {
		return CAState{}, err
	}
	s := CAState{Trusted: bundle, Signing: Fingerprint(ca.cert), Leaves: presented(p, bundle)}
	r, err := durable.ReadJSON[rotationRecord](rotationFile(p))
	if err != nil && !isMissing(err) {
		return CAState{}, err
	}
	s.Target, s.Reason = r.Target, r.Reason
	return s, nil
}

// presented are the certificates on this node that others verify. One that cannot be read was signed by nobody.
func presented(p node.Paths, cas []*x509.Certificate) []SignedLeaf {
	paths := map[string]string{AgentPair: AgentFiles(p).Cert, AdminPair: AdminFiles(p).Cert, OperatorPair: OperatorFiles(p).Cert}
	for _, l := range Leaves() {
		paths[l.Name] = leafPath(p, l, ".crt")
	}
	var out []SignedLeaf
	for name, path := range paths {
		cert, err := readCertificate(path)
		switch {
		case isMissing(err):
		case err != nil:
			out = append(out, SignedLeaf{Name: name})
		default:
			out = append(out, SignedLeaf{Name: name, SignedBy: signerOf(cert, cas)})
		}
	}
	slices.SortFunc(out, func(a, b SignedLeaf) int { return strings.Compare(a.Name, b.Name) })
	return out
}

type rotationRecord struct {
	Target string `json:"target"`
	Reason string `json:"reason,omitempty"`
}

func rotationFile(p node.Paths) string { return filepath.Join(p.EtcdCAs(), "rotation.json") }

func keptCA(p node.Paths, fingerprint string) string { return filepath.Join(p.EtcdCAs(), fingerprint) }

func keepCA(p node.Paths, cert *x509.Certificate, key []byte) error {
	if err := durable.MkdirAll(p.EtcdCAs(), 0o700); err != nil {
		return fmt.Errorf("keep CA %q: %w", cert.Subject.CommonName, err)
	}
	if err := durable.WriteFile(keptCA(p, Fingerprint(cert))+".key", key, 0o600); err != nil {
		return fmt.Errorf("keep CA %q: %w", cert.Subject.CommonName, err)
	}
	if err := durable.WriteFile(keptCA(p, Fingerprint(cert))+".crt", encodeBundle([]*x509.Certificate{cert}), 0o600); err != nil {
		return fmt.Errorf("keep CA %q: %w", cert.Subject.CommonName, err)
	}
	return nil
}

func writeBundle(p node.Paths, certs []*x509.Certificate) error {
	if err := replace(filepath.Join(p.EtcdPKI(), "ca.crt"), encodeBundle(certs), 0o644); err != nil {
		return fmt.Errorf("write etcd's CA bundle: %w", err)
	}
	return nil
}
