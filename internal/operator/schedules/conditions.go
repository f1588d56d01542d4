package schedules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/slots"
)

const maxMessage = 1024

func (d *decision) set(condition string, status metav1.ConditionStatus, reason, message string) {
	set(&d.st, d.Schedule.Generation, d.Now, condition, status, reason, message)
}

func set(st *v1alpha1.EtcdBackupScheduleStatus, generation int64, now time.Time, condition string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	meta.SetStatusCondition(&st.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: message, ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
	})
}

// times says when the next one is due.
func (d *decision) times() {
	d.st.NextTime = nil
	if d.suspended() {
		return
	}
	from := d.Now
	if b := d.base(); b.After(from) && b.Sub(from) <= clockSlack {
		from = b // a clock was set back a little
	}
	if n := d.slots.Next(from); !n.IsZero() {
		t := metav1.NewTime(n)
		d.st.NextTime = &t
	}
}

// conditions follow from the status and the objects, with no age in their words: a status that changes is a write.
func (d *decision) conditions() {
	last, have := d.last()
	d.upToDate(last, have)
	d.proven(last, have)
}

// last is the newest backup that is over.
func (d *decision) last() (v1alpha1.EtcdBackup, bool) {
	bs := slices.Clone(d.Backups)
	slices.SortFunc(bs, newestFirst)
	for _, b := range bs {
		if due, ok := Due(b.Name); ok && Ended(b) && due.Sub(d.Now) <= clockSlack {
			return b, true
		}
	}
	return v1alpha1.EtcdBackup{}, false
}

func (d *decision) upToDate(last v1alpha1.EtcdBackup, have bool) {
	const c = v1alpha1.ConditionUpToDate
	active, running := d.find(d.st.Active)
	begun, _ := Due(active.Name)
	switch {
	case running && d.Now.Sub(begun) > late:
		d.set(c, metav1.ConditionFalse, v1alpha1.ReasonBackupMissed, fmt.Sprintf("%s was due and is not made yet: %s", active.Name, message(active, v1alpha1.ConditionSucceeded)))
	case !d.due.IsZero() && (d.Now.Sub(d.due) > late || d.reason != v1alpha1.ReasonBackupMissed):
		d.set(c, metav1.ConditionFalse, d.reason, fmt.Sprintf("the backup of %s is not begun: %s", d.due.UTC().Format(time.RFC3339), d.why))
	case d.st.ConsecutiveFailures > 0:
		why := "see the EtcdBackup objects of this schedule"
		if have && is(last, v1alpha1.ConditionSucceeded, metav1.ConditionFalse) {
			why = last.Name + ": " + message(last, v1alpha1.ConditionSucceeded)
		}
		d.set(c, metav1.ConditionFalse, v1alpha1.ReasonBackupFailed, fmt.Sprintf("%d failed since the last success; %s", d.st.ConsecutiveFailures, why))
	case d.suspended():
		d.set(c, metav1.ConditionTrue, v1alpha1.ReasonSuspended, "no new backups are made: spec.suspend is true")
	case d.st.LastSuccess != nil:
		d.set(c, metav1.ConditionTrue, v1alpha1.ReasonBackupVerified, fmt.Sprintf("backup %s was made, read back and verified", d.st.LastSuccess.ID))
	case running || d.st.Claimed != "":
		d.set(c, metav1.ConditionUnknown, v1alpha1.ReasonRunning, "the first backup is being made")
	default:
		d.set(c, metav1.ConditionUnknown, v1alpha1.ReasonWaiting, "the first backup is not due yet")
	}
}

func (d *decision) proven(last v1alpha1.EtcdBackup, have bool) {
	const c = v1alpha1.ConditionProven
	spec := d.Schedule.Spec
	spec.Suspend = nil
	age, asked := slots.ProofAge(spec)
	p := d.st.LastProven
	switch {
	case !asked:
		d.set(c, metav1.ConditionFalse, v1alpha1.ReasonNotRequested, "spec.prove.policy is Never: whether its backups can be restored is not known")
	case have && proofFailed(last):
		d.set(c, metav1.ConditionFalse, v1alpha1.ReasonProofFailed, last.Name+": "+message(last, v1alpha1.ConditionProven))
	case p == nil || p.ProvenTime == nil:
		if d.st.LastSuccess == nil {
			d.set(c, metav1.ConditionUnknown, v1alpha1.ReasonWaiting, "no backup was made yet")
			return
		}
		d.set(c, metav1.ConditionFalse, v1alpha1.ReasonNeverProven, "there are backups, and none was proven yet: ceo backup prove latest")
	case d.Now.Sub(p.ProvenTime.Time) > age:
		d.set(c, metav1.ConditionFalse, v1alpha1.ReasonProofOutdated, fmt.Sprintf("the last proof is older than %s: backup %s", observe.Days(age), p.ID))
	default:
		d.set(c, metav1.ConditionTrue, v1alpha1.ReasonProven, fmt.Sprintf("backup %s was restored for a test, and served", p.ID))
	}
}

func message(b v1alpha1.EtcdBackup, condition string) string {
	if c := meta.FindStatusCondition(b.Status.Conditions, condition); c != nil {
		return c.Message
	}
	return "nothing was done for it yet"
}
