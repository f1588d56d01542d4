// Package schedules asks for the backups of an EtcdBackupSchedule when they are due, and thins out what they left.
package schedules

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/slots"
)

// Kind of what is to be done for a schedule.
type Kind string

// The kinds. Each goes with a status that is written after it, where it differs.
const (
	Nothing Kind = "nothing" // but the status may have to be written
	Create  Kind = "create"
	Prune   Kind = "prune"
	Forget  Kind = "forget" // delete old EtcdBackup objects
)

// Action is what is to be done, with its reason.
type Action struct {
	Kind   Kind
	Reason string
	// Name of the EtcdBackup to create, or after which the retention is applied.
	Name  string
	Prove bool
	// Node and Store of the retention.
	Node      observe.Node
	Store     string
	Retention backup.Policies
	// Old are the objects that go.
	Old []v1alpha1.EtcdBackup
}

// Input is all that it is decided of.
type Input struct {
	Now      time.Time
	Schedule v1alpha1.EtcdBackupSchedule
	// Backups of this schedule: it is their owner.
	Backups []v1alpha1.EtcdBackup
	// All schedules, this one among them: a backup stays that any of them keeps.
	All []v1alpha1.EtcdBackupSchedule
	O   observe.Observation
	// Tried is when the retention was last tried in vain; zero if it was not.
	Tried time.Time
}

const (
	// clockSlack is how far clocks may be apart, and by how much a last run may lie ahead before a clock was wrong then.
	clockSlack = time.Hour
	// clockLimit is how far the operator's clock may be from the nodes'.
	clockLimit = 5 * time.Minute
	// late is how long after its time a backup that is not made is news.
	late = time.Hour
	// retry is how long a retention that failed is left alone.
	retry = 5 * time.Minute
)

// Decide answers the one thing that is to be done next, and what the status is to say. It is pure.
//
// A time that is due is claimed in the status before its EtcdBackup is created, under the name that follows from it. So
// whoever comes next, and wherever the former stopped, creates the same object or none. Times up to status.lastTime are
// over; a last time that lies far ahead is of a clock that was wrong, and is taken back, or no backup would be made for as
// long as it was wrong by.
func Decide(in Input) (Action, v1alpha1.EtcdBackupScheduleStatus) {
	d := &decision{Input: in, st: *in.Schedule.Status.DeepCopy()}
	d.st.ObservedGeneration = in.Schedule.Generation
	at, err := slots.Parse(in.Schedule.Spec.Schedule)
	if err != nil {
		d.set(v1alpha1.ConditionUpToDate, metav1.ConditionFalse, v1alpha1.ReasonScheduleInvalid, err.Error())
		return Action{Kind: Nothing, Reason: err.Error()}, d.st
	}
	d.slots = at
	d.follow()
	a := d.next()
	d.times()
	d.conditions()
	return a, d.st
}

type decision struct {
	Input
	st    v1alpha1.EtcdBackupScheduleStatus
	slots slots.Slots
	// due is a time that is over and for which nothing was begun; why is why not.
	due    time.Time
	why    string
	reason string
}

// next is what is to be done, once what has happened is in the status.
func (d *decision) next() Action {
	if d.st.Claimed != d.Schedule.Status.Claimed || d.st.Active != d.Schedule.Status.Active {
		return Action{Kind: Nothing, Reason: "what has happened is written down first"}
	}
	if a, ok := d.create(); ok {
		return a
	}
	if a, ok := d.prune(); ok {
		return a
	}
	if d.claim(); d.st.Claimed != "" {
		return Action{Kind: Nothing, Reason: d.st.Claimed + " is claimed before it is created"}
	}
	return d.forget()
}

// follow takes over into the status what has become of the backup that was asked for last.
func (d *decision) follow() {
	if b, ok := d.find(d.st.Claimed); ok {
		d.st.Active, d.st.Claimed = b.Name, ""
	}
	if d.st.Active != "" {
		b, ok := d.find(d.st.Active)
		switch {
		case !ok: // somebody deleted it
			d.st.Active = ""
		case Ended(b):
			d.count(b)
			d.st.Active = ""
		}
	}
	// One that runs and is not in the status: this cluster was restored from a backup.
	if i := slices.IndexFunc(d.Backups, func(b v1alpha1.EtcdBackup) bool { return !Ended(b) }); i >= 0 && d.st.Active == "" && d.st.Claimed == "" {
		d.st.Active = d.Backups[i].Name
	}
	// The status says of a time that nobody can have lived through: a clock was wrong.
	if d.clock() == "" && d.base().Sub(d.Now) > clockSlack {
		last := metav1.NewTime(d.slots.Last(time.Time{}, d.Now))
		if last.IsZero() {
			last = metav1.NewTime(d.Now.Truncate(time.Minute))
		}
		d.st.LastTime = &last
	}
}

// count takes over what came of a backup, once.
func (d *decision) count(b v1alpha1.EtcdBackup) {
	if !is(b, v1alpha1.ConditionSucceeded, metav1.ConditionTrue) || b.Status.Backup == nil {
		d.st.ConsecutiveFailures++
		return
	}
	d.st.ConsecutiveFailures, d.st.LastSuccess = 0, b.Status.Backup.DeepCopy()
	d.st.SinceProof++
	if is(b, v1alpha1.ConditionProven, metav1.ConditionTrue) {
		d.st.LastProven, d.st.SinceProof = b.Status.Backup.DeepCopy(), 0
	}
	// After a proof that failed nothing is removed: what lies there may be all that can be restored.
	if !proofFailed(b) {
		d.st.PruneAfter = b.Name
	}
}

func (d *decision) create() (Action, bool) {
	switch {
	case d.st.Claimed == "":
		return Action{}, false
	case d.suspended():
		d.st.Claimed = ""
		return Action{Kind: Nothing, Reason: "it was suspended before its backup was created"}, true
	case d.O.StandBack() != "":
		return Action{}, false
	}
	due, ok := Due(d.st.Claimed)
	if !ok {
		d.st.Claimed = ""
		return Action{Kind: Nothing, Reason: "what was claimed is no backup's name"}, true
	}
	var begun time.Time
	if p := d.st.LastProven; p != nil && p.Time != nil {
		begun = p.Time.Time
	}
	return Action{
		Kind: Create, Name: d.st.Claimed, Reason: "it is due",
		Prove: slots.ProofDue(d.Schedule.Spec.Prove, due, begun, d.st.SinceProof),
	}, true
}

// claim takes the last time that is due. All before it are over: one that was missed is made up, not all.
func (d *decision) claim() {
	if d.suspended() || d.st.Claimed != "" {
		return
	}
	if d.due = d.slots.Last(d.base(), d.Now); d.due.IsZero() {
		return
	}
	d.reason = v1alpha1.ReasonBackupMissed
	switch {
	case d.st.Active != "":
		d.why = d.st.Active + " is not over yet"
	case d.O.StandBack() != "":
		d.why, d.reason = d.O.StandBack(), v1alpha1.ReasonRecoveryOpen
	case d.clock() != "":
		d.why, d.reason = d.clock(), v1alpha1.ReasonClockDiffers
	default:
		t := metav1.NewTime(d.due)
		d.st.Claimed, d.st.LastTime, d.due = Name(d.Schedule.Name, d.due), &t, time.Time{}
	}
}

// base is the time up to which everything is over.
func (d *decision) base() time.Time {
	if d.st.LastTime != nil {
		return d.st.LastTime.Time
	}
	return d.Schedule.CreationTimestamp.Time
}

// clock is why the time is not believed; empty: it is. A clock that jumps on the operator's node alone makes no backup
// due, and hides none.
func (d *decision) clock() string {
	var off []time.Duration
	for _, n := range d.O.Answering() {
		if n.State.GetAt() != nil {
			off = append(off, n.State.GetAt().AsTime().Sub(d.O.At))
		}
	}
	if len(off) == 0 {
		return "no agent answers, so the time cannot be compared"
	}
	slices.Sort(off)
	if m := off[(len(off)-1)/2]; m > clockLimit || m < -clockLimit {
		return fmt.Sprintf("the operator's clock differs from the nodes' by more than %s", clockLimit)
	}
	return ""
}

// prune applies the retentions of all schedules on the node that made the last backup, in the place that it went to.
func (d *decision) prune() (Action, bool) {
	if d.st.PruneAfter == "" {
		return Action{}, false
	}
	b, ok := d.find(d.st.PruneAfter)
	if !ok || b.Status.Location == "" {
		d.st.PruneAfter = "" // somebody deleted it; the next one will do
		return Action{}, false
	}
	// An open recovery may restore from any backup (P17).
	if p := d.O.Pause(); p.Recovery != "" || p.Unread != "" || d.Now.Sub(d.Tried) < retry && !d.Now.Before(d.Tried) {
		return Action{}, false
	}
	n, ok := d.O.Node(b.Status.Node)
	if !ok || n.State == nil {
		return Action{}, false
	}
	ps, err := Retention(d.All)
	if err != nil {
		d.set(v1alpha1.ConditionPruned, metav1.ConditionFalse, v1alpha1.ReasonPruneFailed, err.Error())
		return Action{}, false
	}
	return Action{Kind: Prune, Name: b.Name, Node: n, Store: b.Status.Location, Retention: ps, Reason: b.Name + " was made"}, true
}

// Retention is that of all schedules: a backup stays that any of them keeps. One that is suspended keeps its backups.
func Retention(all []v1alpha1.EtcdBackupSchedule) (backup.Policies, error) {
	var out backup.Policies
	for _, s := range all {
		if s.DeletionTimestamp != nil {
			continue
		}
		r := s.Spec.Retention
		p := backup.Policy{Last: int(r.Last), Hourly: int(r.Hourly), Daily: int(r.Daily), Weekly: int(r.Weekly), Monthly: int(r.Monthly)}
		if r.MaxAge != nil {
			p.MaxAge = backup.Duration(r.MaxAge.Duration)
		}
		if r.MaxSize != "" {
			n, err := r.MaxSize.Bytes()
			if err != nil {
				return nil, fmt.Errorf("retention of EtcdBackupSchedule %s: %w; nothing is removed", s.Name, err)
			}
			p.MaxSize = n
		}
		out = append(out, p)
	}
	return out, nil
}

// forget bounds the EtcdBackup objects of this schedule: the objects, not the backups. One whose time is still to come
// stays, as it keeps that time from being taken twice.
func (d *decision) forget() Action {
	none := Action{Kind: Nothing, Reason: "nothing is due"}
	if d.O.StandBack() != "" {
		return none
	}
	var old []v1alpha1.EtcdBackup
	for _, b := range d.Backups {
		due, ok := Due(b.Name)
		if ok && Ended(b) && due.Sub(d.Now) <= clockSlack {
			old = append(old, b)
		}
	}
	slices.SortFunc(old, newestFirst)
	limit := int(cmp.Or(d.Schedule.Spec.HistoryLimit, 10))
	if len(old) <= limit {
		return none
	}
	old = slices.DeleteFunc(old[limit:], func(b v1alpha1.EtcdBackup) bool {
		return b.Name == d.st.Active || b.Name == d.st.PruneAfter || b.DeletionTimestamp != nil
	})
	if len(old) == 0 {
		return none
	}
	return Action{Kind: Forget, Old: old, Reason: fmt.Sprintf("%d EtcdBackups stay to be looked at", limit)}
}

func (d *decision) suspended() bool {
	return d.Schedule.DeletionTimestamp != nil || d.Schedule.Spec.Suspend != nil && *d.Schedule.Spec.Suspend
}

func (d *decision) find(name string) (v1alpha1.EtcdBackup, bool) {
	i := slices.IndexFunc(d.Backups, func(b v1alpha1.EtcdBackup) bool { return name != "" && b.Name == name })
	if i < 0 {
		return v1alpha1.EtcdBackup{}, false
	}
	return d.Backups[i], true
}
