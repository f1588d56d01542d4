package observe

import (
	"fmt"
	"math"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/slots"
)

// proofAge is how old the newest proof may be: what the schedule allows that proves most often. The others say for
// themselves, in their own condition, whether they keep to theirs. 0 where none proves anything.
func proofAge(all []v1alpha1.EtcdBackupSchedule) time.Duration {
	var least time.Duration
	for _, s := range all {
		if age, ok := slots.ProofAge(s.Spec); ok && s.DeletionTimestamp == nil && (least == 0 || age < least) {
			least = age
		}
	}
	return least
}

// MaxProofAge is how old the newest proof may be.
func (o Observation) MaxProofAge() time.Duration {
	if o.ProofAge > 0 {
		return o.ProofAge
	}
	return slots.DefaultProofAge
}

// age of the newest proof in seconds.
func age(o Observation) float64 {
	switch p := o.Backups.Proven; {
	case p != nil:
		return max(o.At.Sub(p.Proof.At).Seconds(), 0)
	case o.Backups.Read:
		return math.Inf(1)
	}
	return math.NaN()
}

// Days writes a duration as people count it: 8 days, 26 hours.
func Days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}
