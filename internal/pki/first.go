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
	"io/fs"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// FirstCA is etcd's CA of a cluster that begins: the pair that is there, or a new one. A key alone is what an interrupted
// run left, and is used; a certificate without its key is somebody's, and nothing is made in its place.
func FirstCA(have Pair, now time.Time) (Pair, *CA, error) {
	out := have
	switch {
	case have.Cert == nil && have.Key == nil:
		made, err := MakeCA(now, 0)
		if err != nil {
			return Pair{}, nil, err
		}
		out = made
	case have.Key == nil:
		return Pair{}, nil, errors.New("etcd's CA: ca.crt is there without ca.key: put its key beside it, or move ca.crt away")
	case have.Cert == nil:
		key, err := parseKey(have.Key)
		if err != nil {
			return Pair{}, nil, fmt.Errorf("etcd's CA: ca.key: %w", err)
		}
		made, err := makeCAOf(key, now, 0)
		if err != nil {
			return Pair{}, nil, err
		}
		out.Cert = made.Cert
	}
	ca, err := parseCA(out)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("etcd's CA: %w", err)
	}
	if now.After(ca.cert.NotAfter) {
		return Pair{}, nil, fmt.Errorf("etcd's CA expired on %s: nothing is signed with it (P9)", ca.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return out, ca, nil
}

// parseCA takes the one of the bundle that the key belongs to, as LoadCA does.
func parseCA(p Pair) (*CA, error) {
	bundle, err := parseBundle(p.Cert)
	if err != nil {
		return nil, fmt.Errorf("ca.crt: %w", err)
	}
	key, err := parseKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("ca.key: %w", err)
	}
	for _, cert := range bundle {
		if belongs(cert, key) {
			return NewCA(cert, key)
		}
	}
	return NewCA(bundle[0], key)
}

// FirstPair is one of the pairs that a node has before anything runs on it.
type FirstPair struct {
	Name      string
	Cert, Key string
	// Modes of the two files, and the user and group that they belong to; -1 leaves the one who writes.
	CertMode, KeyMode fs.FileMode
	Owner             int

	hosts    []string
	template func(ca *x509.Certificate) *x509.Certificate
}

// FirstPairs are those of a node: kubeadm's leaves, and the agent's, the admin's and the operator's.
func FirstPairs(p node.Paths, h Host) []FirstPair {
	var out []FirstPair
	for _, l := range Leaves() {
		f := FirstPair{
			Name: l.Name, Cert: leafPath(p, l, ".crt"), Key: leafPath(p, l, ".key"), CertMode: 0o644, KeyMode: 0o600, Owner: -1,
			template: func(ca *x509.Certificate) *x509.Certificate {
				t := leafLook{}.profile(l, h)
				if l.Serves {
					t.Subject = pkix.Name{CommonName: h.Name}
				}
				t.NotBefore, t.NotAfter, t.BasicConstraintsValid = notBefore(h.Now, h.Life, ca), h.Now.Add(lifeOr(h.Life)), true
				if t.NotAfter.After(ca.NotAfter) {
					t.NotAfter = ca.NotAfter
				}
				return t
			},
		}
		if l.Serves {
			f.hosts = AgentHosts(h.Name, h.Address)
		}
		out = append(out, f)
	}
	for _, r := range []struct {
		files Files
		want  Request
		mode  fs.FileMode
		owner int
	}{
		{AgentFiles(p), agentRequest(h.Name, h.Address, h.Now), 0o600, -1},
		{AdminFiles(p), adminRequest(h.Name, h.Now), 0o600, -1},
		{OperatorFiles(p), operatorRequest(h.Name, h.Now), 0o400, OperatorUser},
	} {
		r.want.Life = h.Life
		out = append(out, FirstPair{
			Name: filepath.Base(r.files.Cert[:len(r.files.Cert)-len(".crt")]), Cert: r.files.Cert, Key: r.files.Key,
			CertMode: r.mode, KeyMode: r.mode, Owner: r.owner, hosts: r.want.Hosts,
			template: func(ca *x509.Certificate) *x509.Certificate { return template(r.want, ca) },
		})
	}
	return out
}

// Complete makes of what is there the whole pair. A whole pair stays if it will do, and is an error if not: it is not
// ours to replace. A key alone is what an interrupted run left, and is used.
func (f FirstPair) Complete(ca *CA, have Pair, now time.Time) (Pair, error) {
	if have.Cert != nil {
		return have, f.check(ca, have, now)
	}
	out := have
	var key crypto.Signer
	var err error
	if have.Key != nil {
		if key, err = parseKey(have.Key); err != nil {
			return Pair{}, fmt.Errorf("%s: %w: move it away", f.Key, err)
		}
	} else {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return Pair{}, fmt.Errorf("make a key for %s: %w", f.Name, err)
		}
		if out.Key, err = encodeKey(key); err != nil {
			return Pair{}, err
		}
	}
	if out.Cert, err = ca.sign(f.template(ca.cert), key.Public()); err != nil {
		return Pair{}, fmt.Errorf("issue %s: %w", f.Name, err)
	}
	return out, nil
}

func (f FirstPair) check(ca *CA, have Pair, now time.Time) error {
	cert, err := ParseCertificate(have.Cert)
	if err != nil {
		return fmt.Errorf("%s is there and cannot be used: %w: move it away", f.Cert, err)
	}
	if have.Key == nil {
		return fmt.Errorf("%s is there without its key: move it away", f.Cert)
	}
	key, err := parseKey(have.Key)
	if err != nil {
		return fmt.Errorf("%s: %w: move the pair away", f.Key, err)
	}
	want := f.template(ca.cert)
	switch {
	case !belongs(cert, key):
		return fmt.Errorf("%s is there, and its key is another's: move the pair away", f.Cert)
	case cert.CheckSignatureFrom(ca.cert) != nil:
		return fmt.Errorf("%s is there, and etcd's CA did not sign it: move the pair away", f.Cert)
	case now.After(cert.NotAfter):
		return fmt.Errorf("%s ended on %s: move the pair away (P9)", f.Cert, cert.NotAfter.UTC().Format(time.RFC3339))
	case cert.Subject.String() != want.Subject.String():
		return fmt.Errorf("%s is there, and is for %s, not %s: move the pair away", f.Cert, cert.Subject, want.Subject)
	}
	for _, h := range f.hosts {
		if cert.VerifyHostname(h) != nil {
			return fmt.Errorf("%s is there, and does not name %s (P20): move the pair away", f.Cert, h)
		}
	}
	return nil
}
