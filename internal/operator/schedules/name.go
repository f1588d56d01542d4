package schedules

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
)

// dueForm is the end of an EtcdBackup's name: slots are whole minutes.
const dueForm = "20060102t1504z"

const maxName, maxLabel = 253, 63

// Name of the EtcdBackup for a time that is due: the same, whoever asks.
func Name(schedule string, due time.Time) string {
	return short(schedule, maxName-len(dueForm)-1) + "-" + due.UTC().Format(dueForm)
}

// Due is the time that a name stands for.
func Due(name string) (time.Time, bool) {
	if len(name) <= len(dueForm) {
		return time.Time{}, false
	}
	t, err := time.Parse(dueForm, name[len(name)-len(dueForm):])
	return t, err == nil
}

// label is the value of the label with the schedule's name, which may be longer than a label's value.
func label(schedule string) string { return short(schedule, maxLabel) }

func short(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%s-%08x", strings.TrimRight(name[:limit-9], "-."), h.Sum32())
}

func newestFirst(a, b v1alpha1.EtcdBackup) int {
	x, _ := Due(a.Name)
	y, _ := Due(b.Name)
	return y.Compare(x)
}

// Ended: nothing more is done for an EtcdBackup.
func Ended(b v1alpha1.EtcdBackup) bool {
	p := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionProven)
	return is(b, v1alpha1.ConditionSucceeded, metav1.ConditionFalse) || p != nil && p.Status != metav1.ConditionUnknown
}

func proofFailed(b v1alpha1.EtcdBackup) bool {
	p := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionProven)
	return p != nil && p.Status == metav1.ConditionFalse && p.Reason != v1alpha1.ReasonNotRequested
}

func is(b v1alpha1.EtcdBackup, condition string, s metav1.ConditionStatus) bool {
	return meta.IsStatusConditionPresentAndEqual(b.Status.Conditions, condition, s)
}

// ours: a schedule is the owner of an EtcdBackup, by its uid and not by its name or the label, which anybody may give.
func ours(b v1alpha1.EtcdBackup, s v1alpha1.EtcdBackupSchedule) bool {
	return metav1.IsControlledBy(&b, &s)
}
