package status

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/report"
)

// observed is the generation that the whole status is about: no newer than what every controller has seen, or whoever
// waits for a change would take the end of the one before for its own.
func observed(generation, before int64, reports []report.Report) int64 {
	for _, r := range reports {
		generation = min(generation, max(r.Generation, before))
	}
	return generation
}

// work is what another controller is doing; what it waits for, where none does anything.
func (s seen) work() *report.Note {
	var waits *report.Note
	for _, r := range s.reports {
		switch {
		case r.Progressing == nil:
		case !r.Progressing.Waits:
			return r.Progressing
		case waits == nil:
			waits = r.Progressing
		}
	}
	return waits
}

func doing(n *report.Note) metav1.ConditionStatus {
	if n.Waits {
		return metav1.ConditionFalse
	}
	return metav1.ConditionTrue
}

func (s seen) reportedProblems() []problem {
	var out []problem
	for _, r := range s.reports {
		for _, n := range r.Degraded {
			out = append(out, problem{n.Reason, n.Message})
		}
	}
	return out
}

func (s seen) objection() *report.Note {
	for _, r := range s.reports {
		if r.Upgradeable != nil {
			return r.Upgradeable
		}
	}
	return nil
}

// rolledOut numbers the roll-out that was reported, and says when it was begun and ended. Where none was, that of before
// stays.
func rolledOut(before *v1alpha1.RolloutStatus, at time.Time, reports []report.Report) *v1alpha1.RolloutStatus {
	out := before.DeepCopy()
	for _, r := range reports {
		if r.Rollout != nil {
			out = r.Rollout.DeepCopy()
			break
		}
	}
	if out == nil {
		return nil
	}
	now := metav1.NewTime(at).Rfc3339Copy()
	switch {
	case before == nil:
		out.Revision, out.StartTime = 1, &now
	case before.Hash != out.Hash:
		out.Revision, out.StartTime = before.Revision+1, &now
	default:
		out.Revision, out.StartTime = before.Revision, before.StartTime.DeepCopy()
	}
	out.CompletionTime = nil
	if out.State == v1alpha1.RolloutComplete {
		out.CompletionTime = &now
		if before != nil && before.Hash == out.Hash && before.State == out.State && before.CompletionTime != nil {
			out.CompletionTime = before.CompletionTime.DeepCopy()
		}
	}
	return out
}
