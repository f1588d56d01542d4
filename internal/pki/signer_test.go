package pki

import (
	"crypto/x509"
	"testing"
	"time"
)

// TestSignerOf: what was looked up once is not the answer for another bundle or another certificate.
func TestSignerOf(t *testing.T) {
	var cas []*x509.Certificate
	for range 2 {
		pair, err := MakeCA(time.Now(), 0)
		if err != nil {
			t.Fatal(err)
		}
		ca, err := ParseCertificate(pair.Cert)
		if err != nil {
			t.Fatal(err)
		}
		cas = append(cas, ca)
	}
	for range 2 {
		for i, ca := range cas { // each has signed itself alone
			if got := signerOf(ca, cas); got != Fingerprint(ca) {
				t.Errorf("CA %d of both: %q", i, got)
			}
			if got := signerOf(ca, cas[1-i:2-i]); got != "" {
				t.Errorf("CA %d of the other one: %q", i, got)
			}
			if got := signerOf(ca, nil); got != "" {
				t.Errorf("CA %d of none: %q", i, got)
			}
		}
	}
}
