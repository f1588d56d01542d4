// Package backups makes the backup that an EtcdBackup asks for, through the agent of a node, once.
package backups

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Kind of what is to be done for an EtcdBackup.
type Kind string

// The kinds.
const (
	Nothing Kind = "nothing" // it is over
	Wait    Kind = "wait"
	Claim   Kind = "claim" // write down which node begins it, and when, before anything is begun
	Make    Kind = "make"  // or find what was made before
	Prove   Kind = "prove"
	Skip    Kind = "skip" // say that no proof was asked for
	Fail    Kind = "fail"
)

// Action is what is to be done, with its reason.
type Action struct {
	Kind   Kind
	Node   observe.Node
	Reason string
}

// Patience is for how long a backup that was begun is tried again, where it is not known what came of it.
const Patience = 2 * time.Hour

// Decide answers what is to be done. It is pure. A backup that was begun stays with its node: only that one's catalogue
// can tell whether it was made.
func Decide(b v1alpha1.EtcdBackup, o observe.Observation) Action {
	succeeded := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionSucceeded)
	proven := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionProven)
	done := succeeded != nil && succeeded.Status == metav1.ConditionTrue
	asked := b.Spec.Prove != nil && *b.Spec.Prove
	switch {
	case succeeded != nil && succeeded.Status == metav1.ConditionFalse, proven != nil && proven.Status != metav1.ConditionUnknown:
		return Action{Kind: Nothing, Reason: "it is over"}
	case done && !asked:
		return Action{Kind: Skip, Reason: "no proof was asked for"}
	case o.StandBack() != "":
		return Action{Kind: Wait, Reason: o.StandBack()}
	case done:
		n, ok := o.Node(b.Status.Node)
		if !ok || n.State == nil {
			return Action{Kind: Wait, Reason: "the agent of " + b.Status.Node + ", which made it, does not answer"}
		}
		return Action{Kind: Prove, Node: n, Reason: "it was made, and is to be proven"}
	case b.Status.StartTime != nil:
		if o.At.Sub(b.Status.StartTime.Time) > Patience {
			return Action{Kind: Fail, Reason: "it was begun on " + b.Status.Node + ", and whether it was made could not be found out"}
		}
		n, ok := o.Node(b.Status.Node)
		if !ok || n.State == nil {
			return Action{Kind: Wait, Reason: "the agent of " + b.Status.Node + ", where it was begun, does not answer"}
		}
		return Action{Kind: Make, Node: n, Reason: "it was begun"}
	}
	n, why := choose(b.Spec.Node, o)
	if n.State == nil {
		return Action{Kind: Wait, Reason: why}
	}
	return Action{Kind: Claim, Node: n, Reason: why}
}

// choose picks the node: the named one, else that of a healthy follower, so that the leader does not pay for it.
func choose(named string, o observe.Observation) (observe.Node, string) {
	if named != "" {
		n, ok := o.Node(named)
		switch {
		case !ok:
			return n, "there is no control-plane node " + named
		case n.State == nil:
			return n, "the agent of " + named + " does not answer"
		}
		return n, "the node that was asked for"
	}
	for _, role := range []v1alpha1.MemberRole{v1alpha1.RoleFollower, v1alpha1.RoleLeader} {
		for _, m := range o.Membership().Members {
			if n, ok := o.Node(m.Node); ok && m.Role == role && m.Health == etcd.Healthy && !m.Corrupt && n.State != nil {
				return n, "the node of a healthy " + strings.ToLower(string(role))
			}
		}
	}
	return observe.Node{}, "no healthy member was seen"
}

// Adopt finds the backup that was made for an EtcdBackup, though nobody wrote it down: of the node that it was begun on,
// not older than its beginning by that node's own clock, and no other EtcdBackup's. So no second one is made.
func Adopt(es []backup.Entry, node string, begun time.Time, taken map[string]bool) (backup.Entry, bool) {
	i := slices.IndexFunc(es, func(e backup.Entry) bool {
		return e.Good() && e.Manifest.Cluster.Node == node && !e.Manifest.StartedAt.Before(begun) && !taken[e.ID]
	})
	if i < 0 {
		return backup.Entry{}, false
	}
	return es[i], true
}
