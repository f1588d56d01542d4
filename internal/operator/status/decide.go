// Package status writes to the EtcdCluster what is seen of it. It changes nothing else, and at rest it writes nothing.
package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
)

// seen is what the conditions are made of.
type seen struct {
	observe.Observation
	membership observe.Membership
	view       etcd.View
	status     v1alpha1.EtcdClusterStatus
	reports    []report.Report
}

// Decide answers what the status is to say, from what was seen and what it says now. It is pure: the observation carries
// the time. Fields that other controllers own are empty in the answer. reports are what other controllers have to say.
func Decide(o observe.Observation, now v1alpha1.EtcdClusterStatus, reports ...report.Report) v1alpha1.EtcdClusterStatus {
	s := seen{Observation: o, membership: o.Membership(), reports: reports}
	s.view = s.membership.View(o.Pause())
	out := v1alpha1.EtcdClusterStatus{ClusterID: s.membership.ClusterID, Epoch: s.membership.Epoch}
	if o.Cluster != nil {
		out.ObservedGeneration = observed(o.Cluster.Generation, now.ObservedGeneration, reports)
	}
	if out.ClusterID == "" {
		// Nothing was seen: what was known stays (I23).
		out.ClusterID, out.Epoch = now.ClusterID, now.Epoch
	}
	out.Members = members(s.membership, now.Members)
	out.ClusterVersion = clusterVersion(out.Members, now.ClusterVersion)
	for _, m := range out.Members {
		for _, c := range m.Certificates {
			if out.CertificatesValidUntil == nil || c.ValidUntil.Before(out.CertificatesValidUntil) {
				out.CertificatesValidUntil = c.ValidUntil.DeepCopy()
			}
		}
	}
	if r, _ := o.OpenRecovery(); r != nil {
		out.OpenRecovery = r.GetId()
	}
	out.LastProvenBackup = now.LastProvenBackup
	if p := o.Backups.Proven; p != nil {
		out.LastProvenBackup = observe.Reference(*p)
	}
	out.Ready = s.ready()
	out.Rollout = rolledOut(now.Rollout, o.At, reports)
	out.CARotation = rotatedCA(now.CARotation, o.At, reports)
	out.Members = podRevisions(out.Members, now.Members, out.Rollout, s.membership)
	s.status = out
	s.status.Conditions = slices.Clone(now.Conditions)
	for _, c := range []metav1.Condition{s.available(), s.quorumSafe(), s.progressing(), s.degraded(), s.backupsProven(), s.upgradeable()} {
		c.ObservedGeneration, c.LastTransitionTime = out.ObservedGeneration, metav1.NewTime(o.At)
		c.Message = clip(c.Message, 1024)
		meta.SetStatusCondition(&s.status.Conditions, c)
	}
	s.status.Summary = summary(s.status)
	settle(&s.status, now)
	return s.status
}

// members are those of the membership. Where no list could be had, those of before stay, unknown.
func members(m observe.Membership, before []v1alpha1.MemberStatus) []v1alpha1.MemberStatus {
	var out []v1alpha1.MemberStatus
	if !m.Listed {
		for _, b := range before {
			b.Health, b.Message, b.PodRevision = v1alpha1.HealthUnknown, "no member gave the list of members", 0
			if b.Role == v1alpha1.RoleLeader || b.Role == v1alpha1.RoleFollower {
				b.Role = v1alpha1.RoleUnknown
			}
			out = append(out, b)
		}
		return out
	}
	for _, x := range m.Members {
		s := v1alpha1.MemberStatus{
			ID: node.FormatID(x.ID), Name: x.Name, Node: x.Node, PeerURL: x.PeerURL, Role: x.Role, Message: clip(x.Why, 1024), Alarms: x.Alarms,
			Health: map[etcd.Health]v1alpha1.MemberHealth{
				etcd.Healthy: v1alpha1.HealthHealthy, etcd.Unhealthy: v1alpha1.HealthUnhealthy, etcd.Unknown: v1alpha1.HealthUnknown,
			}[x.Health],
		}
		old := find(before, s.ID)
		// What could not be asked keeps its last figures.
		s.Version, s.Revision, s.DBSizeBytes, s.DBInUseBytes = old.Version, old.Revision, old.DBSizeBytes, old.DBInUseBytes
		if e := x.Etcd; e != nil {
			s.Version, s.Revision, s.DBSizeBytes, s.DBInUseBytes = e.GetVersion(), e.GetRevision(), e.GetDbSize(), e.GetDbInUse()
		}
		s.Certificates = old.Certificates
		if x.State != nil {
			s.Certificates = certificates(x.State.GetCertificates())
		}
		out = append(out, s)
	}
	return out
}

func find(ms []v1alpha1.MemberStatus, id string) v1alpha1.MemberStatus {
	for _, m := range ms {
		if m.ID == id {
			return m
		}
	}
	return v1alpha1.MemberStatus{}
}

// clusterVersion is the lowest minor version of all members, which is what etcd agrees on by itself; the one of before
// where a member's is not known.
func clusterVersion(ms []v1alpha1.MemberStatus, before string) string {
	lowest, least := before, -1
	for _, m := range ms {
		var major, minor, patch int
		if m.Role == v1alpha1.RoleUnstarted {
			continue
		}
		if _, err := fmt.Sscanf(m.Version, "%d.%d.%d", &major, &minor, &patch); err != nil {
			return before
		}
		if least < 0 || minor < least {
			lowest, least = fmt.Sprintf("%d.%d.0", major, minor), minor
		}
	}
	return lowest
}

// ready counts the healthy voters, and those that there should be: one for each wanted node.
func (s seen) ready() string {
	all, healthy := s.view.Voters()
	wanted := 0
	for _, n := range s.Nodes {
		if n.Wanted {
			wanted++
		}
	}
	if wanted == 0 {
		wanted = all
	}
	return fmt.Sprintf("%d/%d", healthy, wanted)
}

// Figures that always move are not worth a write until they have moved far.
const (
	farShare = 10       // percent
	farBytes = 16 << 20 // and at least so much
)

// settle puts the old figures back where nothing else has changed and none has moved far.
func settle(s *v1alpha1.EtcdClusterStatus, now v1alpha1.EtcdClusterStatus) {
	calm := s.DeepCopy()
	for i, m := range calm.Members {
		old := find(now.Members, m.ID)
		if far(old.DBSizeBytes, m.DBSizeBytes) || far(old.DBInUseBytes, m.DBInUseBytes) || old.Revision == 0 {
			return
		}
		calm.Members[i].Revision, calm.Members[i].DBSizeBytes, calm.Members[i].DBInUseBytes = old.Revision, old.DBSizeBytes, old.DBInUseBytes
	}
	if Same(*calm, now) {
		*s = *calm
	}
}

func far(old, now int64) bool {
	moved := max(old-now, now-old)
	return moved >= farBytes && moved*100 >= old*farShare || old == 0 && now != 0
}

// summary is the one line of `kubectl get`.
func summary(s v1alpha1.EtcdClusterStatus) string {
	for _, x := range []struct {
		condition string
		status    metav1.ConditionStatus
	}{
		{v1alpha1.ConditionAvailable, metav1.ConditionFalse},
		{v1alpha1.ConditionAvailable, metav1.ConditionUnknown},
		{v1alpha1.ConditionDegraded, metav1.ConditionTrue},
		{v1alpha1.ConditionProgressing, metav1.ConditionTrue},
		{v1alpha1.ConditionQuorumSafe, metav1.ConditionFalse},
		{v1alpha1.ConditionQuorumSafe, metav1.ConditionUnknown},
		{v1alpha1.ConditionAvailable, metav1.ConditionTrue},
	} {
		if s.OpenRecovery != "" {
			x.condition, x.status = v1alpha1.ConditionProgressing, metav1.ConditionFalse
		}
		if c := meta.FindStatusCondition(s.Conditions, x.condition); c != nil && c.Status == x.status {
			return c.Message
		}
	}
	return ""
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}

// expiring is how long before its end a certificate is news. It is renewed long before, where that works.
const expiring = 30 * 24 * time.Hour
