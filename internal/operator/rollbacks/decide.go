// Package rollbacks carries out the roll-backs that are asked for in the API: it shows the plan, and with a person's
// consent to just that plan has the recovery node's agent begin, once (I14).
package rollbacks

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
)

// Facts are everything that is decided on.
type Facts struct {
	Recovery v1alpha1.EtcdRecovery
	Pause    etcd.Pause
	// Open is the recovery whose journal is open, on node OpenOn; nil for none.
	Open   *agentpb.Recovery
	OpenOn string
	// ClusterID of the cluster that lives; empty where it is not known.
	ClusterID string
	// Node would run it.
	Node string
	// Record of the recovery that this object started, once it is over.
	Record *v1alpha1.EtcdRecovery
	// Since the start was written until this look, by the operator's clock.
	Since time.Duration
	// Plan and Backup are of this look; nil where they were not asked for, or could not be had for the reason Unknown.
	Plan    *agentpb.Plan
	Backup  *v1alpha1.BackupReference
	Unknown string
}

// Kind of what is to be done.
type Kind string

// The kinds.
const (
	// Nothing: it is over, or as it was shown.
	Nothing Kind = "nothing"
	// Ask: the plan has to be made first.
	Ask Kind = "ask"
	// Show writes the status.
	Show Kind = "show"
	// Start writes the status first, so that this consent is used up whatever comes, and has the agent begin then.
	Start Kind = "start"
)

// Action is what is to be done, with the status to be written.
type Action struct {
	Kind   Kind
	Status v1alpha1.EtcdRecoveryStatus
	Reason string
}

// over: nothing begins any more with this object.
func over(r v1alpha1.EtcdRecovery) bool {
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionComplete)
	if c == nil {
		return false
	}
	switch c.Reason {
	case v1alpha1.ReasonRecovered, v1alpha1.ReasonAborted, v1alpha1.ReasonFailed, v1alpha1.ReasonConsentUsed, v1alpha1.ReasonConsentMismatch:
		return true
	case v1alpha1.ReasonRefused:
		// Without a consent the same may be allowed later; a consent does not wait for that.
		return r.Spec.Rollback.Consent != nil && c.ObservedGeneration == r.Generation
	}
	return false
}

// Decide is the decision. It starts a roll-back only with a consent to the plan that was shown, while that plan is still
// the one that would be run: the same cluster, backup, nodes and risks (I14).
func Decide(f Facts) Action {
	r := f.Recovery
	if r.Spec.Type != v1alpha1.RecoveryRollback || r.Spec.Rollback == nil || over(r) {
		return Action{Kind: Nothing, Reason: "it is over, or no roll-back"}
	}
	if r.Status.StartTime != nil {
		return started(f)
	}
	consent := r.Spec.Rollback.Consent
	if why := notNow(f); why != "" {
		if consent != nil {
			// It would begin at a moment that nobody expects.
			return end(f, v1alpha1.ReasonRefused, why+"; a consent is for now: delete this EtcdRecovery and create another one")
		}
		return complete(f, f.Recovery.Status, v1alpha1.ReasonRefused, why)
	}
	if consent != nil {
		if reason, why := mismatch(r, f.ClusterID); why != "" {
			return end(f, reason, why)
		}
	}
	switch {
	case f.Unknown != "":
		return complete(f, r.Status, v1alpha1.ReasonWaiting, "the plan cannot be made: "+f.Unknown)
	case f.Plan == nil || f.Backup == nil:
		return Action{Kind: Ask, Reason: "there is no plan of now"}
	case consent == nil:
		return shown(f)
	}
	return consented(f, *consent)
}

// notNow is why no roll-back could begin, whatever its plan.
func notNow(f Facts) string {
	switch {
	case f.Pause.Recovery != "":
		return "recovery " + f.Pause.Recovery + " is open (P17)"
	case f.Pause.Unmanaged:
		return "managementState is Unmanaged"
	}
	return ""
}

// mismatch compares the consent with the plan that was shown to the person.
func mismatch(r v1alpha1.EtcdRecovery, clusterID string) (reason, why string) {
	c, p := r.Spec.Rollback.Consent, r.Status.Plan
	const again = "; nothing was changed: delete this EtcdRecovery and create another one, without a consent first"
	switch {
	case p == nil || p.Backup == nil || p.ID == "":
		return v1alpha1.ReasonConsentMismatch, "it was consented before a plan was shown" + again
	case clusterID != "" && c.ClusterID != clusterID:
		return v1alpha1.ReasonConsentMismatch, fmt.Sprintf("the consent is to give up cluster %s, and the one that lives is %s%s", c.ClusterID, clusterID, again)
	case c.ClusterID != p.ClusterID:
		return v1alpha1.ReasonConsentMismatch, fmt.Sprintf("the consent is to give up cluster %s, and the plan was of %s%s", c.ClusterID, p.ClusterID, again)
	case c.BackupDigest != p.Backup.Digest:
		return v1alpha1.ReasonConsentMismatch, fmt.Sprintf("the consent is to a backup of digest %s, and the plan's has %s%s", c.BackupDigest, p.Backup.Digest, again)
	}
	for _, k := range p.Risks {
		if !slices.Contains(c.AcceptRisks, v1alpha1.Risk(k.Name)) {
			return v1alpha1.ReasonConsentMismatch, fmt.Sprintf("the plan has the risk %s, which was not accepted: %s%s", k.Name, k.Text, again)
		}
	}
	return "", ""
}

// consented: the plan of now must be the one that was agreed to.
func consented(f Facts, c v1alpha1.Consent) Action {
	p := f.Recovery.Status.Plan
	switch {
	case f.ClusterID == "":
		return complete(f, f.Recovery.Status, v1alpha1.ReasonWaiting, "which cluster lives is not known")
	case f.Pause.Unread != "":
		return complete(f, f.Recovery.Status, v1alpha1.ReasonWaiting, "whether another recovery is open is not known: "+f.Pause.Unread)
	case f.Plan.GetRefused() != "":
		return end(f, v1alpha1.ReasonRefused, f.Plan.GetRefused())
	case f.Backup.Digest != c.BackupDigest:
		return end(f, v1alpha1.ReasonConsentMismatch, fmt.Sprintf("backup %s has digest %s by now, and the consent is to %s", f.Backup.ID, f.Backup.Digest, c.BackupDigest))
	case f.Plan.GetId() != p.ID:
		return end(f, v1alpha1.ReasonRefused, fmt.Sprintf("what was observed has changed since plan %s was shown (now %s): delete this EtcdRecovery, create another one and read its plan", p.ID, f.Plan.GetId()))
	}
	a := complete(f, f.Recovery.Status, v1alpha1.ReasonRunning, "the agent of "+f.Node+" is told to begin plan "+p.ID)
	a.Kind, a.Status.Coordinator, a.Status.Source = Start, f.Node, "backup "+f.Backup.ID
	return a
}

// shown is the plan for a person to read. Words that move with each look are no reason to write it again.
func shown(f Facts) Action {
	st, old := *f.Recovery.Status.DeepCopy(), f.Recovery.Status.Plan
	now := planStatus(f)
	if old == nil || old.ID != now.ID || old.ClusterID != now.ClusterID || old.Backup == nil || old.Backup.Digest != now.Backup.Digest {
		st.Plan = &now
	}
	if why := f.Plan.GetRefused(); why != "" {
		set(&st, f, v1alpha1.ConditionPlanned, metav1.ConditionFalse, v1alpha1.ReasonRefused, why)
		return complete(f, st, v1alpha1.ReasonRefused, why)
	}
	set(&st, f, v1alpha1.ConditionPlanned, metav1.ConditionTrue, v1alpha1.ReasonPlanReady, "plan "+now.ID+": see status.plan")
	return complete(f, st, v1alpha1.ReasonWaitingForConsent, fmt.Sprintf(
		"nothing is changed without spec.rollback.consent: clusterID %s, backupDigest %s, acceptRisks as in status.plan.risks", now.ClusterID, now.Backup.Digest))
}

// settled: a start that was begun has come to an end by then, and is seen.
const settled = 2 * startLimit

// started: the consent is used. What came of it is followed, and never begun again.
func started(f Facts) Action {
	st := *f.Recovery.Status.DeepCopy()
	if o := f.Open; o.GetId() != "" && f.OpenOn == st.Coordinator && (st.RecoveryID == "" || st.RecoveryID == o.GetId()) {
		st.RecoveryID, st.Step, st.WaitingFor, st.Epoch = o.GetId(), cut(o.GetStep(), maxText), o.GetWaitingFor(), o.GetEpoch()
		switch {
		case o.GetError() != "":
			return complete(f, st, v1alpha1.ReasonRunning, "recovery "+o.GetId()+" stopped: "+o.GetError()+"; see `ceo recover --resume` and `ceo recover --abort`")
		case len(o.GetWaitingFor()) > 0:
			return complete(f, st, v1alpha1.ReasonWaitingForNodes, fmt.Sprintf("the cluster serves again, and %v are awaited", o.GetWaitingFor()))
		}
		return complete(f, st, v1alpha1.ReasonRunning, "recovery "+o.GetId()+" runs")
	}
	if c := recorded(f.Record); c != nil && st.RecoveryID != "" {
		done := f.Record.Status
		st.CompletionTime, st.Epoch, st.OldClusterID, st.NewClusterID = done.CompletionTime, done.Epoch, done.OldClusterID, done.NewClusterID
		st.Step, st.WaitingFor = "", nil
		return completeAs(f, st, c.Status, c.Reason, c.Message)
	}
	if f.Open.GetId() != "" || f.Unknown != "" || f.Pause.Unread != "" || st.RecoveryID != "" || f.Since < settled {
		return complete(f, st, v1alpha1.ReasonRunning, "what came of it is looked up")
	}
	return end(f, v1alpha1.ReasonConsentUsed, "the consent was used, and no recovery of it is open or recorded: see `ceo recover --resume` on "+st.Coordinator+"; for another run create another EtcdRecovery (I14)")
}

func recorded(r *v1alpha1.EtcdRecovery) *metav1.Condition {
	if r == nil {
		return nil
	}
	return meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionComplete)
}

// end is for good.
func end(f Facts, reason, message string) Action {
	return complete(f, f.Recovery.Status, reason, message)
}

func complete(f Facts, st v1alpha1.EtcdRecoveryStatus, reason, message string) Action {
	return completeAs(f, st, metav1.ConditionFalse, reason, message)
}

func completeAs(f Facts, from v1alpha1.EtcdRecoveryStatus, status metav1.ConditionStatus, reason, message string) Action {
	st := *from.DeepCopy()
	set(&st, f, v1alpha1.ConditionComplete, status, reason, message)
	return Action{Kind: Show, Status: st, Reason: message}
}

func set(st *v1alpha1.EtcdRecoveryStatus, f Facts, condition string, status metav1.ConditionStatus, reason, message string) {
	st.ObservedGeneration = f.Recovery.Generation
	meta.SetStatusCondition(&st.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: cut(message, maxMessage), ObservedGeneration: f.Recovery.Generation,
	})
}
