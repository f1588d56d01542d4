package status

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
)

// rotatedCA says when the change of the CA that was reported was begun and ended. Where none was, that of before stays.
func rotatedCA(before *v1alpha1.CARotationStatus, at time.Time, reports []report.Report) *v1alpha1.CARotationStatus {
	out := before.DeepCopy()
	for _, r := range reports {
		if r.CARotation != nil {
			out = r.CARotation.DeepCopy()
			break
		}
	}
	if out == nil {
		return nil
	}
	now := metav1.NewTime(at).Rfc3339Copy()
	over := out.Phase == v1alpha1.CAComplete
	out.StartTime, out.CompletionTime = &now, nil
	same := before != nil && before.Reason == out.Reason && (over || before.Phase != v1alpha1.CAComplete)
	if same {
		out.StartTime = before.StartTime.DeepCopy()
	}
	if over {
		out.CompletionTime = &now
		if same && before.CompletionTime != nil {
			out.CompletionTime = before.CompletionTime.DeepCopy()
		}
	}
	return out
}

// podRevisions says which revision each member runs, by the roll-out's number. A node's own name for what it runs may be
// another one than the target's with the same content: once all of it is rolled out, every node has it. What is neither
// keeps the number it had; a member whose container is not known has none.
func podRevisions(ms, before []v1alpha1.MemberStatus, r *v1alpha1.RolloutStatus, seen observe.Membership) []v1alpha1.MemberStatus {
	running := map[string]string{}
	for _, m := range seen.Members {
		if x := m.State.GetRevisions(); x.GetError() == "" {
			running[m.Node] = x.GetRunning()
		}
	}
	for i := range ms {
		m := &ms[i]
		m.PodRevision = 0
		hash := running[m.Node]
		switch {
		case r == nil || m.Node == "" || hash == "":
		case hash == r.Hash || r.State == v1alpha1.RolloutComplete:
			m.PodRevision = r.Revision
		default:
			m.PodRevision = find(before, m.ID).PodRevision
		}
	}
	return ms
}
