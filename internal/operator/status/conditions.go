package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator/observe"
)

func is(condition string, status metav1.ConditionStatus, reason, format string, args ...any) metav1.Condition {
	return metav1.Condition{Type: condition, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// available: a quorum serves. The proof is a list of members that a quorum gave; without one, it is counted.
func (s seen) available() metav1.Condition {
	all, healthy := s.view.Voters()
	unhealthy := 0
	for _, m := range s.view.Members {
		if m.Voter() && m.Health == etcd.Unhealthy {
			unhealthy++
		}
	}
	q := etcd.Quorum(all)
	switch {
	case s.membership.Serves:
		return is(v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonQuorumServes, "a quorum serves: %d of %d voters are healthy", healthy, all)
	case !s.membership.Listed:
		return is(v1alpha1.ConditionAvailable, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "no member could be asked: %s", s.why())
	case all-unhealthy < q:
		return is(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonQuorumLost, "%d of %d voters are down, and %d are needed: ceo recover --plan", unhealthy, all, q)
	default:
		return is(v1alpha1.ConditionAvailable, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "%d of %d voters are healthy, and no quorum answered: %s", healthy, all, s.why())
	}
}

// why names the nodes that could not be inspected.
func (s seen) why() string {
	var out []string
	for _, n := range s.Nodes {
		if n.State == nil {
			out = append(out, n.Name+": "+n.Err)
		}
	}
	for _, m := range s.membership.Members {
		if m.State != nil && m.Health == etcd.Unknown {
			out = append(out, m.Name+": "+m.Why)
		}
	}
	switch {
	case len(s.Nodes) == 0:
		return "no Node has the labels of spec.nodeSelector"
	case len(out) == 0:
		return "no etcd of this cluster answers its agent"
	}
	return strings.Join(out, "; ")
}

// quorumSafe: any one voter can be lost. A member that could not be asked counts for neither answer (I23).
func (s seen) quorumSafe() metav1.Condition {
	all, healthy := s.view.Voters()
	if !s.membership.Listed {
		return is(v1alpha1.ConditionQuorumSafe, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "no member could be asked: %s", s.why())
	}
	no := whoCannotGo(s.view)
	switch {
	case no == "":
		return is(v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne, "any one voter can be lost: %d of %d are healthy", healthy, all)
	case all == 1:
		return is(v1alpha1.ConditionQuorumSafe, metav1.ConditionFalse, v1alpha1.ReasonSingleMember, "there is one member, and nothing to take its place")
	}
	best := s.view
	best.Members = slices.Clone(best.Members)
	for i := range best.Members {
		if best.Members[i].Health == etcd.Unknown {
			best.Members[i].Health = etcd.Healthy
		}
	}
	if whoCannotGo(best) == "" {
		return is(v1alpha1.ConditionQuorumSafe, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "%d of %d voters are seen to be healthy: %s", healthy, all, s.why())
	}
	return is(v1alpha1.ConditionQuorumSafe, metav1.ConditionFalse, v1alpha1.ReasonCannotLoseOne, "no voter may be lost: %s", no)
}

// whoCannotGo asks the one place that decides it, for each voter.
func whoCannotGo(v etcd.View) string {
	for _, m := range v.Members {
		if can := etcd.CanLoseVoter(v, m.ID); !can.OK {
			return can.Reason
		}
	}
	return ""
}

// progressing: the operator changes something. It says as well why it does not.
func (s seen) progressing() metav1.Condition {
	p := s.view.Pause
	reason := v1alpha1.ReasonAtRest
	switch {
	case p.Recovery != "":
		return is(v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonRecoveryOpen, "%s", s.StandBack())
	case p.Unmanaged:
		reason = v1alpha1.ReasonUnmanaged
	case p.Unread != "":
		reason = v1alpha1.ReasonWaiting
	default:
		if n := s.work(); n != nil {
			return is(v1alpha1.ConditionProgressing, doing(n), n.Reason, "%s", n.Message)
		}
		return is(v1alpha1.ConditionProgressing, metav1.ConditionFalse, reason, "nothing is being changed")
	}
	return is(v1alpha1.ConditionProgressing, metav1.ConditionFalse, reason, "%s", p.MayAct().Reason)
}

type problem struct{ reason, text string }

// degraded lists everything that needs to be mended, worst first; its reason is the first one's.
func (s seen) degraded() metav1.Condition {
	if len(s.Nodes) == 0 {
		return is(v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonSelectorMismatch,
			"no Node has the labels of spec.nodeSelector: a person has to correct it or to label the control-plane nodes")
	}
	if len(s.Answering()) == 0 {
		return is(v1alpha1.ConditionDegraded, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "no agent could be asked: %s", s.why())
	}
	ps := slices.Concat(s.memberProblems(), s.reportedProblems(), s.nodeProblems())
	if len(ps) == 0 {
		return is(v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected, "nothing needs to be mended")
	}
	var texts []string
	for _, p := range ps {
		texts = append(texts, p.text)
	}
	return is(v1alpha1.ConditionDegraded, metav1.ConditionTrue, ps[0].reason, "%s", strings.Join(texts, "; "))
}

func (s seen) memberProblems() []problem {
	var corrupt, unhealthy, others []problem
	for _, m := range s.membership.Members {
		name := s.view.Label(m.ID)
		for _, a := range m.Alarms {
			switch a {
			case "CORRUPT":
				corrupt = append(corrupt, problem{v1alpha1.ReasonAlarmCorrupt, name + " has raised the alarm CORRUPT: its data differs from the others'"})
			case "NOSPACE":
				corrupt = append(corrupt, problem{v1alpha1.ReasonAlarmNoSpace, name + " has raised the alarm NOSPACE: no write is taken until there is space"})
			}
		}
		if m.Health == etcd.Unhealthy {
			unhealthy = append(unhealthy, problem{v1alpha1.ReasonMemberUnhealthy, name + ": " + m.Why})
		}
		if m.Health == etcd.Unknown && (m.State != nil || m.Node == "") {
			others = append(others, problem{v1alpha1.ReasonMemberUnhealthy, name + ": " + m.Why})
		}
	}
	if s.membership.Conflict != "" {
		corrupt = append(corrupt, problem{v1alpha1.ReasonMemberUnhealthy, s.membership.Conflict})
	}
	return slices.Concat(corrupt, unhealthy, others)
}

func (s seen) nodeProblems() []problem {
	var out []problem
	for _, n := range s.Nodes {
		has := slices.ContainsFunc(s.membership.Members, func(m observe.Member) bool { return m.Node == n.Name })
		switch {
		case n.State == nil && (n.Wanted || has):
			out = append(out, problem{v1alpha1.ReasonAgentUnreachable, n.Name + ": " + n.Err})
		case n.Wanted && s.membership.Listed && !has:
			out = append(out, problem{v1alpha1.ReasonMemberMissing, n.Name + " has no member"})
		case n.LeftOut && has:
			out = append(out, problem{v1alpha1.ReasonSelectorMismatch, s.LeftOut(s.membership)})
		case !n.Wanted && has:
			out = append(out, problem{v1alpha1.ReasonSelectorMismatch, n.Name + " holds a member, and spec.nodeSelector leaves it out or its Node is gone"})
		}
	}
	for _, m := range s.status.Members {
		for _, c := range m.Certificates {
			if c.ValidUntil.Sub(s.At) < s.expiring() {
				out = append(out, problem{v1alpha1.ReasonCertificateExpiring, fmt.Sprintf("%s on %s is valid until %s", c.Name, m.Node, c.ValidUntil.UTC().Format(time.DateOnly))})
			}
		}
		if q := s.quotaOf(m.ID); q > 0 && m.DBSizeBytes*100 >= q*nearlyUsed {
			out = append(out, problem{v1alpha1.ReasonQuotaNearlyUsed, fmt.Sprintf("the database of %s has used more than %d%% of the quota", m.Name, nearlyUsed)})
		}
	}
	return out
}

// quotaOf a member is what its etcd says; where that is not known, what is asked for.
func (s seen) quotaOf(id string) int64 {
	for _, m := range s.membership.Members {
		if q := m.Etcd.GetQuota(); node.FormatID(m.ID) == id && q > 0 {
			return q
		}
	}
	return s.quota()
}

// expiring is how long before its end a certificate is news: it is renewed when a third of its life is left, so a quarter
// says that this does not work.
func (s seen) expiring() time.Duration {
	if s.Cluster == nil || s.Cluster.Spec.TLS.LeafLifetime.Duration <= 0 {
		return expiring
	}
	return min(expiring, s.Cluster.Spec.TLS.LeafLifetime.Duration/4)
}

// quota in bytes; 0 where it is not known.
func (s seen) quota() int64 {
	if s.Cluster == nil {
		return 0
	}
	n, err := s.Cluster.Spec.Quota.Bytes()
	if err != nil {
		return 0
	}
	return n
}

// nearlyUsed is how much of the quota is news, in percent.
const nearlyUsed = 80

func (s seen) backupsProven() metav1.Condition {
	b := s.Backups
	switch p := b.Proven; {
	case p != nil && s.At.Sub(p.Proof.At) <= s.MaxProofAge():
		return is(v1alpha1.ConditionBackupsProven, metav1.ConditionTrue, v1alpha1.ReasonProven, "backup %s was proven on %s", p.ID, p.Proof.At.UTC().Format(time.DateOnly))
	case p != nil:
		return is(v1alpha1.ConditionBackupsProven, metav1.ConditionFalse, v1alpha1.ReasonProofOutdated,
			"the last proof is older than %s: backup %s, on %s; ceo backup prove latest", observe.Days(s.MaxProofAge()), p.ID, p.Proof.At.UTC().Format(time.DateOnly))
	case b.Read && b.Newest != nil:
		return is(v1alpha1.ConditionBackupsProven, metav1.ConditionFalse, v1alpha1.ReasonNeverProven, "there are backups, and none was ever proven: ceo backup prove latest")
	case b.Read:
		return is(v1alpha1.ConditionBackupsProven, metav1.ConditionFalse, v1alpha1.ReasonNeverProven, "there is no backup: create an EtcdBackupSchedule, or ceo backup create")
	}
	why := "it was not read yet"
	if b.Err != "" {
		why = b.Err
	}
	return is(v1alpha1.ConditionBackupsProven, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "no catalogue of backups could be read: %s", why)
}

// upgradeable: an upgrade of etcd or of a node may be begun now.
func (s seen) upgradeable() metav1.Condition {
	versions := map[string]bool{}
	for _, m := range s.status.Members {
		versions[m.Version] = true
	}
	safe, available := s.quorumSafe(), s.available()
	const c = v1alpha1.ConditionUpgradeable
	switch {
	case s.view.Pause.Recovery != "":
		return is(c, metav1.ConditionFalse, v1alpha1.ReasonRecoveryOpen, "%s", s.StandBack())
	case available.Status == metav1.ConditionFalse:
		return is(c, metav1.ConditionFalse, available.Reason, "%s", available.Message)
	case safe.Status == metav1.ConditionFalse:
		return is(c, metav1.ConditionFalse, v1alpha1.ReasonQuorumNotSafe, "%s", safe.Message)
	case safe.Status == metav1.ConditionUnknown:
		return is(c, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "%s", safe.Message)
	case versions[""]:
		return is(c, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "the version of a member is not known")
	case len(versions) > 1:
		return is(c, metav1.ConditionFalse, v1alpha1.ReasonVersionsDiffer, "members run different versions of etcd: finish that upgrade first")
	}
	for v := range versions {
		var patch int
		if n, _ := fmt.Sscanf(v, "3.5.%d", &patch); n == 1 && patch < 26 {
			return is(c, metav1.ConditionFalse, v1alpha1.ReasonPatchTooOld, "etcd %s leaves removed members behind that come back in 3.6: upgrade to 3.5.26 or newer first (P23)", v)
		}
	}
	if n := s.objection(); n != nil {
		return is(c, metav1.ConditionFalse, n.Reason, "%s", n.Message)
	}
	return is(c, metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "any one voter can be lost, and all run the same version")
}
