package pki

import (
	"crypto/x509"
	"fmt"
	"time"
)

// backdate is the clock skew between nodes that a new certificate tolerates: five minutes, or a tenth of a short life.
func backdate(life time.Duration) time.Duration { return min(5*time.Minute, lifeOr(life)/10) }

func lifeOr(life time.Duration) time.Duration {
	if life <= 0 {
		return Lifetime
	}
	return life
}

// notBefore of what a CA signs is the begin of the CA, as kubeadm has it: what was issued while the node's clock was ahead
// is valid when it is right again.
func notBefore(now time.Time, life time.Duration, ca *x509.Certificate) time.Time {
	t := now.Add(-backdate(life))
	if ca.NotBefore.Before(t) {
		return ca.NotBefore
	}
	return t
}

// whyDue says why a certificate is to be issued anew for its age alone: a third of the life is left, so that a node that
// is dark for months still has a valid one when it is needed (P9); or it lives longer than asked for. life 0 asks for
// nothing. One that ends with its CA cannot be had any longer.
func whyDue(have, ca *x509.Certificate, life time.Duration, now time.Time) string {
	left := have.NotAfter.Sub(now)
	third := min(lifeOr(life), have.NotAfter.Sub(have.NotBefore)) / 3
	if left < third && have.NotAfter.Before(ca.NotAfter) {
		return "ends on " + have.NotAfter.UTC().Format(time.RFC3339)
	}
	if life > 0 && left > life+life/10 {
		return fmt.Sprintf("lives until %s, longer than the %s that is asked for", have.NotAfter.UTC().Format(time.RFC3339), life)
	}
	return ""
}

// clockBehind refuses to replace a certificate by one that could end before it did: this node's clock is from before the
// certificate was made.
func clockBehind(have *x509.Certificate, now time.Time) error {
	if now.Before(have.NotBefore) {
		return fmt.Errorf("this node's clock says %s, but certificate %q begins on %s: nothing is issued before the clock is right",
			now.UTC().Format(time.RFC3339), have.Subject.CommonName, have.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// CheckEvery is how often certificates of this life are looked at: sixty times in it. At least once a minute, so that a
// changed address and a clock that was set are followed soon; no more than every two seconds.
func CheckEvery(life time.Duration) time.Duration {
	return min(max(lifeOr(life)/60, 2*time.Second), time.Minute)
}
