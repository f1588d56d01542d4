package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// Leaf is one of the certificates that kubeadm has etcd's CA sign.
type Leaf struct {
	// Name is its path below node.Paths.KubernetesPKI without the ending: "etcd/server".
	Name string
	// Serves: it names the node and its addresses.
	Serves bool
	// CommonName that kubeadm gives it; empty: the node's name.
	CommonName string
}

// Leaves are all of them.
func Leaves() []Leaf {
	return []Leaf{
		{Name: "etcd/server", Serves: true},
		{Name: "etcd/peer", Serves: true},
		{Name: "etcd/healthcheck-client", CommonName: "kube-etcd-healthcheck-client"},
		{Name: "apiserver-etcd-client", CommonName: "kube-apiserver-etcd-client"},
	}
}

// Host is the node that certificates are for, and how long they last.
type Host struct {
	Name, Address string
	// Also are further addresses that the agent's own certificate names, and no other's: while a node's address is gone, it
	// has to be asked at those that are there (P20).
	Also []string
	// Life of what is issued; 0: Lifetime, and what lives longer is left.
	Life time.Duration
	Now  time.Time
}

// EnsureLeaf sees to it that one of kubeadm's certificates is good for long enough, signed by the CA that signs now, and
// names the node's present address (P9, P20). Only the certificate is replaced, by one rename; the key stays. etcd and
// kube-apiserver read the two files one after the other at each handshake, and so never see a certificate beside
// another's key. A new key is made only where there is no usable one, so that nothing could be served anyway.
//
// Subject, usages and names stay what kubeadm made; names are only added. It says why it issued one, "" if it did not.
func EnsureLeaf(p node.Paths, l Leaf, h Host) (why string, err error) {
	look, err := lookAtLeaf(p, l, h)
	if err != nil || look.why == "" {
		return "", err
	}
	ca, err := LoadCA(p.EtcdPKI())
	if err != nil {
		return "", fmt.Errorf("renew %s: %w", l.Name, err)
	}
	if look.have != nil {
		if err := clockBehind(look.have, h.Now); err != nil {
			return "", fmt.Errorf("renew %s: %w", l.Name, err)
		}
	}
	key, err := look.signer(p, l)
	if err != nil {
		return "", fmt.Errorf("renew %s: %w", l.Name, err)
	}
	profile := look.profile(l, h)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: profile.Subject}, key)
	if err != nil {
		return "", fmt.Errorf("renew %s: request: %w", l.Name, err)
	}
	raw, err := ca.SignRequest(csr, profile, h)
	if err != nil {
		return "", fmt.Errorf("renew %s: %w", l.Name, err)
	}
	if err := replace(leafPath(p, l, ".crt"), raw, 0o644); err != nil {
		return "", fmt.Errorf("renew %s: %w", l.Name, err)
	}
	return look.why, nil
}

// SignRequest signs a request: the key is the request's, everything else the profile's. The request proves that who asks
// holds the key; what it says of itself does not count.
func (ca *CA) SignRequest(csrDER []byte, profile *x509.Certificate, h Host) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: its key did not sign it: %w", err)
	}
	if h.Now.After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("CA %q expired on %s: change it first, see docs/certificates.md (P9)", ca.cert.Subject.CommonName, ca.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	t := &x509.Certificate{
		Subject: profile.Subject, RawSubject: profile.RawSubject, DNSNames: profile.DNSNames, IPAddresses: profile.IPAddresses,
		NotBefore: notBefore(h.Now, h.Life, ca.cert), NotAfter: h.Now.Add(lifeOr(h.Life)),
		KeyUsage: profile.KeyUsage, ExtKeyUsage: profile.ExtKeyUsage, UnknownExtKeyUsage: profile.UnknownExtKeyUsage,
		BasicConstraintsValid: true,
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	return ca.sign(t, csr.PublicKey)
}

func leafPath(p node.Paths, l Leaf, ending string) string {
	return filepath.Join(p.KubernetesPKI(), filepath.FromSlash(l.Name)+ending)
}

// leafLook is what is on disk, and why it will not do.
type leafLook struct {
	have *x509.Certificate // nil where it cannot be read
	key  crypto.Signer     // nil where it cannot be read
	why  string
}

func lookAtLeaf(p node.Paths, l Leaf, h Host) (leafLook, error) {
	var out leafLook
	crtRaw, crtErr := os.ReadFile(leafPath(p, l, ".crt"))
	keyRaw, keyErr := os.ReadFile(leafPath(p, l, ".key"))
	if isMissing(crtErr) && isMissing(keyErr) {
		// kubeadm's to make, or etcd is not on this node.
		return out, nil
	}
	for _, err := range []error{crtErr, keyErr} {
		if err != nil && !isMissing(err) {
			return out, fmt.Errorf("look at %s: %w", l.Name, err)
		}
	}
	cas, err := Bundle(p.EtcdPKI())
	if err != nil {
		return out, fmt.Errorf("look at %s: etcd's CA: %w", l.Name, err)
	}
	if out.have, err = ParseCertificate(crtRaw); err != nil {
		out.have, out.why = nil, fmt.Sprintf("%s.crt cannot be used: %v", l.Name, err)
	}
	if out.key, err = parseKey(keyRaw); err != nil {
		out.key, out.why = nil, fmt.Sprintf("%s.key cannot be used: %v", l.Name, err)
	}
	if out.why != "" {
		return out, nil
	}
	if !belongs(out.have, out.key) {
		out.why = fmt.Sprintf("the key of %s is not that of its certificate", l.Name)
		return out, nil
	}
	signing, err := signingCertificate(p.EtcdPKI())
	if err != nil {
		return out, fmt.Errorf("look at %s: etcd's CA: %w", l.Name, err)
	}
	signer := signerOf(out.have, cas)
	switch {
	case signer == "" && chained(crtRaw, cas):
		// Somebody's own, by a CA below etcd's: not ours to make anew.
	case signer != Fingerprint(signing):
		out.why = fmt.Sprintf("%s is not signed by etcd's present CA", l.Name)
	default:
		out.why = whyOf(l, h, out.have, signing)
	}
	return out, nil
}

func whyOf(l Leaf, h Host, have, ca *x509.Certificate) string {
	if why := whyDue(have, ca, h.Life, h.Now); why != "" {
		return fmt.Sprintf("%s %s", l.Name, why)
	}
	if !l.Serves {
		return ""
	}
	for _, name := range AgentHosts(h.Name, h.Address) {
		if have.VerifyHostname(name) != nil {
			return fmt.Sprintf("%s does not name %s", l.Name, name)
		}
	}
	return ""
}

// chained reports whether a file's first certificate leads to one of the CAs through the file's others, whatever the time.
func chained(raw []byte, cas []*x509.Certificate) bool {
	chain, err := parseBundle(raw)
	if err != nil || len(chain) < 2 {
		return false
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range cas {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: chain[0].NotAfter.Add(-time.Second),
	})
	return err == nil
}

// signer is the key on disk, or a new one, which is written before its certificate.
func (k leafLook) signer(p node.Paths, l Leaf) (crypto.Signer, error) {
	if k.key != nil {
		return k.key, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	raw, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	path := leafPath(p, l, ".key")
	if err := setAside(path); err != nil {
		return nil, err
	}
	return key, place(path, raw, 0o600, owner{-1, -1})
}

// setAside renames a key that cannot be read: it may be all that is left of what a person put there.
func setAside(path string) error {
	if err := os.Link(path, path+".unusable"); err != nil && !isMissing(err) && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("keep the unusable key %s: %w", path, err)
	}
	return nil
}

// profile is what the certificate says: what it said, or what kubeadm would.
func (k leafLook) profile(l Leaf, h Host) *x509.Certificate {
	t := k.have
	if t == nil {
		t = &x509.Certificate{
			Subject:  pkix.Name{CommonName: l.CommonName},
			KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if l.Serves {
			t.Subject.CommonName, t.ExtKeyUsage = h.Name, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		}
	}
	out := *t
	if !l.Serves {
		return &out
	}
	out.DNSNames, out.IPAddresses = slices.Clone(t.DNSNames), slices.Clone(t.IPAddresses)
	for _, name := range AgentHosts(h.Name, h.Address) {
		if ip := net.ParseIP(name); ip == nil {
			if !slices.Contains(out.DNSNames, name) {
				out.DNSNames = append(out.DNSNames, name)
			}
		} else if !slices.ContainsFunc(out.IPAddresses, ip.Equal) {
			out.IPAddresses = append(out.IPAddresses, ip)
		}
	}
	return &out
}
