package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// signers is who signed what, as far as it was looked up: every certificate of a node is looked at every few seconds, and to
// verify a signature is most of what that costs. It is a function of the certificates' bytes alone. A node has some ten of
// them; what is more than mostSigners is of certificates that are gone.
var signers struct {
	sync.Mutex
	of map[[sha256.Size]byte]string
}

const mostSigners = 256

// signerOf is the fingerprint of the one of these CAs that signed the certificate, "" if none did.
func signerOf(cert *x509.Certificate, cas []*x509.Certificate) string {
	h := sha256.New()
	for _, c := range append([]*x509.Certificate{cert}, cas...) {
		sum := sha256.Sum256(c.Raw)
		_, _ = h.Write(sum[:]) // a hash takes all
	}
	key := [sha256.Size]byte(h.Sum(nil))
	signers.Lock()
	defer signers.Unlock()
	if by, ok := signers.of[key]; ok {
		return by
	}
	if signers.of == nil || len(signers.of) >= mostSigners {
		signers.of = map[[sha256.Size]byte]string{}
	}
	by := verifiedSigner(cert, cas)
	signers.of[key] = by
	return by
}

func verifiedSigner(cert *x509.Certificate, cas []*x509.Certificate) string {
	for _, ca := range cas {
		if cert.CheckSignatureFrom(ca) == nil {
			return Fingerprint(ca)
		}
	}
	return ""
}
