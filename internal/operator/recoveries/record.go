// Package recoveries watches over recoveries that agents run, and writes the record of each once it is over. It starts
// none and stops none.
package recoveries

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
)

// The ends of a recovery, as agents say them.
const (
	stateDone    = "done"
	stateAborted = "aborted"
)

// Ended is a recovery that is over, as its coordinator's journal has it.
type Ended struct {
	Recovery *agentpb.Recovery
	Node     string
	At       time.Time // of the journal's last line
	Notes    []string
}

// Name of a recovery's record: the same for the same recovery, so that it is written once, whoever writes it.
func Name(id string) string { return "recovery-" + strings.ToLower(id) }

// Record is what is written. The lineage knows the clusters before and after.
func Record(e Ended, l node.Lineage) *v1alpha1.EtcdRecovery {
	id := e.Recovery.GetId()
	r := &v1alpha1.EtcdRecovery{
		ObjectMeta: metav1.ObjectMeta{Name: Name(id)},
		Spec:       v1alpha1.EtcdRecoverySpec{Type: v1alpha1.RecoveryRecord, Record: &v1alpha1.RecordSpec{RecoveryID: id}},
	}
	r.Status = v1alpha1.EtcdRecoveryStatus{RecoveryID: id, Coordinator: e.Node}
	if t := e.Recovery.GetStarted(); t != nil {
		s := metav1.NewTime(t.AsTime()).Rfc3339Copy()
		r.Status.StartTime = &s
	}
	at := metav1.NewTime(e.At).Rfc3339Copy()
	r.Status.CompletionTime = &at
	c := metav1.Condition{
		Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue, LastTransitionTime: at, ObservedGeneration: 1,
		Reason: v1alpha1.ReasonRecovered, Message: "the recovery is done",
	}
	if e.Recovery.GetState() == stateAborted {
		c.Reason, c.Message = v1alpha1.ReasonAborted, "the recovery was aborted, and what it had done was undone"
	}
	if n := len(e.Notes); n > 0 {
		c.Message += "; " + strings.Join(e.Notes, "; ")
	}
	if len(c.Message) > maxMessage {
		c.Message = strings.ToValidUTF8(c.Message[:maxMessage-3], "") + "..."
	}
	for i, g := range l {
		if g.Recovery != id {
			continue
		}
		r.Status.Epoch, r.Status.NewClusterID = g.Epoch, g.ClusterID
		if i > 0 {
			r.Status.OldClusterID = l[i-1].ClusterID
		}
	}
	r.Status.ObservedGeneration = 1
	r.Status.Conditions = []metav1.Condition{c}
	return r
}

// maxMessage is what is still read; a condition takes 32 KiB.
const maxMessage = 4096

// Over reports whether it has ended.
func Over(r *agentpb.Recovery) bool { return r.GetState() == stateDone || r.GetState() == stateAborted }
