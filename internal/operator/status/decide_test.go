package status

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/slots"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// three is a healthy cluster of three, and what is done to it.
func three(change ...func(*observe.Observation)) observe.Observation {
	members := []*agentpb.Member{
		{Id: "a", Name: "cp-1", PeerUrls: []string{"https://10.0.0.1:2380"}},
		{Id: "b", Name: "cp-2", PeerUrls: []string{"https://10.0.0.2:2380"}},
		{Id: "c", Name: "cp-3", PeerUrls: []string{"https://10.0.0.3:2380"}},
	}
	c := &v1alpha1.EtcdCluster{ObjectMeta: metav1.ObjectMeta{Generation: 7}}
	c.Spec.Quota = "1Gi"
	o := observe.Observation{At: now, Cluster: c}
	for _, m := range members {
		o.Nodes = append(o.Nodes, observe.Node{Name: m.Name, Wanted: true, State: &agentpb.NodeState{
			Name: m.Name, Etcd: &agentpb.Etcd{
				Answers: true, HasLeader: true, MemberId: m.Id, ClusterId: "1f", LeaderId: "a", Version: "3.7.3",
				Revision: 100, DbSize: 50 << 20, Members: members, MembersLinearizable: true,
			},
		}})
	}
	o.Backups = observe.Backups{Read: true, Proven: &backup.Entry{ID: "20261125t120000z-0001", Proof: &backup.Proof{At: now.Add(-time.Hour)}}}
	for _, f := range change {
		f(&o)
	}
	return o
}

func state(n int, f func(*agentpb.NodeState)) func(*observe.Observation) {
	return func(o *observe.Observation) { f(o.Nodes[n].State) }
}

func dark(ns ...int) func(*observe.Observation) {
	return func(o *observe.Observation) {
		for _, n := range ns {
			o.Nodes[n].State, o.Nodes[n].Err = nil, "its agent does not answer"
		}
	}
}

func down(n int) func(*observe.Observation) {
	return state(n, func(s *agentpb.NodeState) {
		s.Etcd = &agentpb.Etcd{Error: "etcd does not listen: connect: connection refused"}
	})
}

func TestConditions(t *testing.T) {
	const (
		yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
		available, safe  = v1alpha1.ConditionAvailable, v1alpha1.ConditionQuorumSafe
		degraded, proven = v1alpha1.ConditionDegraded, v1alpha1.ConditionBackupsProven
		progressing, up  = v1alpha1.ConditionProgressing, v1alpha1.ConditionUpgradeable
	)
	frozen := state(2, func(s *agentpb.NodeState) { s.Etcd = &agentpb.Etcd{Error: "context deadline exceeded"} })
	leaderless := func(n int) func(*observe.Observation) {
		return state(n, func(s *agentpb.NodeState) { s.Etcd.HasLeader, s.Etcd.MembersLinearizable = false, false })
	}
	for _, tt := range []struct {
		name      string
		o         observe.Observation
		condition string
		status    metav1.ConditionStatus
		reason    string
	}{
		{"well", three(), available, yes, v1alpha1.ReasonQuorumServes},
		{"well", three(), safe, yes, v1alpha1.ReasonCanLoseOne},
		{"well", three(), degraded, no, v1alpha1.ReasonAsExpected},
		{"well", three(), progressing, no, v1alpha1.ReasonAtRest},
		{"well", three(), proven, yes, v1alpha1.ReasonProven},
		{"well", three(), up, yes, v1alpha1.ReasonAsExpected},
		{"I23 one agent dark", three(dark(1)), available, yes, v1alpha1.ReasonQuorumServes},
		{"I23 one agent dark", three(dark(1)), safe, unknown, v1alpha1.ReasonNotObserved},
		{"I23 one agent dark", three(dark(1)), degraded, yes, v1alpha1.ReasonAgentUnreachable},
		{"I23 one agent dark", three(dark(1)), up, unknown, v1alpha1.ReasonNotObserved},
		{"I23 all agents dark", three(dark(0, 1, 2)), available, unknown, v1alpha1.ReasonNotObserved},
		{"I23 all agents dark", three(dark(0, 1, 2)), degraded, unknown, v1alpha1.ReasonNotObserved},
		{"P17 too few agents to rule a recovery out", three(dark(1, 2)), progressing, no, v1alpha1.ReasonWaiting},
		{"I23 an etcd frozen", three(frozen), safe, unknown, v1alpha1.ReasonNotObserved},
		{"one down", three(down(2)), safe, no, v1alpha1.ReasonCannotLoseOne},
		{"one down", three(down(2)), degraded, yes, v1alpha1.ReasonMemberUnhealthy},
		{"two down", three(down(1), down(2), leaderless(0)), available, no, v1alpha1.ReasonQuorumLost},
		{"I23 one down and one dark", three(down(1), dark(2), leaderless(0)), available, no, v1alpha1.ReasonQuorumLost},
		{"I23 two dark", three(dark(1, 2), leaderless(0)), available, unknown, v1alpha1.ReasonNotObserved},
		{"P17 a recovery is open", three(state(1, func(s *agentpb.NodeState) { s.Recovery = &agentpb.Recovery{Id: "r"} })), progressing, no, v1alpha1.ReasonRecoveryOpen},
		{"P17 a recovery is open", three(state(1, func(s *agentpb.NodeState) { s.Recovery = &agentpb.Recovery{Id: "r"} })), up, no, v1alpha1.ReasonRecoveryOpen},
		{"unmanaged", three(func(o *observe.Observation) { o.Cluster.Spec.ManagementState = v1alpha1.Unmanaged }), progressing, no, v1alpha1.ReasonUnmanaged},
		{"no node", observe.Observation{At: now}, degraded, yes, v1alpha1.ReasonSelectorMismatch},
		{"a node without a member", three(func(o *observe.Observation) {
			o.Nodes = append(o.Nodes, observe.Node{Name: "cp-4", Wanted: true, State: &agentpb.NodeState{Name: "cp-4"}})
		}), degraded, yes, v1alpha1.ReasonMemberMissing},
		{"alarm", three(state(0, func(s *agentpb.NodeState) { s.Etcd.Alarms = []string{"memberID:11 alarm:NOSPACE "} })), degraded, yes, v1alpha1.ReasonAlarmNoSpace},
		{"corrupt", three(state(0, func(s *agentpb.NodeState) { s.Etcd.Alarms = []string{"memberID:12 alarm:CORRUPT "} })), safe, no, v1alpha1.ReasonCannotLoseOne},
		{"the member's own quota", three(state(1, func(s *agentpb.NodeState) { s.Etcd.DbSize, s.Etcd.Quota = 60<<20, 64<<20 })), degraded, yes, v1alpha1.ReasonQuotaNearlyUsed},
		{"the member's own quota is larger", three(state(1, func(s *agentpb.NodeState) { s.Etcd.DbSize, s.Etcd.Quota = 900<<20, 8<<30 })), degraded, no, v1alpha1.ReasonAsExpected},
		{"P22: one that is defragmented is not counted on", three(state(1, func(s *agentpb.NodeState) { s.Etcd.Defragmenting = true })), safe, no, v1alpha1.ReasonCannotLoseOne},
		{"quota", three(state(0, func(s *agentpb.NodeState) { s.Etcd.DbSize = 900 << 20 })), degraded, yes, v1alpha1.ReasonQuotaNearlyUsed},
		{"certificate", three(state(0, func(s *agentpb.NodeState) {
			s.Certificates = []*agentpb.Certificate{{Path: "/etc/kubernetes/pki/etcd/peer.crt", NotAfter: timestamppb.New(now.AddDate(0, 0, 12))}}
		})), degraded, yes, v1alpha1.ReasonCertificateExpiring},
		{"versions differ", three(state(0, func(s *agentpb.NodeState) { s.Etcd.Version = "3.6.8" })), up, no, v1alpha1.ReasonVersionsDiffer},
		{"P23", three(func(o *observe.Observation) {
			for _, n := range o.Nodes {
				n.State.Etcd.Version = "3.5.25"
			}
		}), up, no, v1alpha1.ReasonPatchTooOld},
		{"proof too old", three(func(o *observe.Observation) {
			o.Backups.Proven.Proof.At = now.Add(-slots.DefaultProofAge - time.Second)
		}), proven, no, v1alpha1.ReasonProofOutdated},
		{"never proven", three(func(o *observe.Observation) { o.Backups.Proven = nil }), proven, no, v1alpha1.ReasonNeverProven},
		{"catalogue not read", three(func(o *observe.Observation) { o.Backups = observe.Backups{} }), proven, unknown, v1alpha1.ReasonNotObserved},
	} {
		t.Run(tt.name+"/"+tt.condition, func(t *testing.T) {
			s := Decide(tt.o, v1alpha1.EtcdClusterStatus{})
			c := meta.FindStatusCondition(s.Conditions, tt.condition)
			if c.Status != tt.status || c.Reason != tt.reason {
				t.Errorf("%s %s: %s; want %s %s", c.Status, c.Reason, c.Message, tt.status, tt.reason)
			}
			if tt.o.Cluster != nil && (c.ObservedGeneration != 7 || s.ObservedGeneration != 7) {
				t.Errorf("observed generation %d, %d", c.ObservedGeneration, s.ObservedGeneration)
			}
			if len(s.Conditions) != 6 || s.Summary == "" {
				t.Errorf("%d conditions, summary %q", len(s.Conditions), s.Summary)
			}
		})
	}
}

// Figures that always move are no reason for a write; what people see is.
func TestSettled(t *testing.T) {
	first := Decide(three(), v1alpha1.EtcdClusterStatus{})
	figures := func(by int64) func(*observe.Observation) {
		return func(o *observe.Observation) {
			o.At = now.Add(time.Hour)
			for _, n := range o.Nodes {
				n.State.Etcd.Revision += 1000
				n.State.Etcd.DbSize += by
			}
		}
	}
	if s := Decide(three(figures(1<<20)), first); !Same(s, first) {
		t.Error("a little growth is written")
	}
	if s := Decide(three(figures(20<<20)), first); Same(s, first) || s.Members[0].Revision != 1100 {
		t.Error("growth by a third is not written")
	}
	if s := Decide(three(figures(0), down(2)), first); Same(s, first) || s.Members[0].Revision != 1100 {
		t.Error("a change does not take the figures along")
	}
	// I23: with nobody answering, what was known stays.
	s := Decide(three(dark(0, 1, 2)), first)
	if s.ClusterID != "1f" || len(s.Members) != 3 || s.Members[0].Health != v1alpha1.HealthUnknown || s.Members[0].Revision != 100 {
		t.Errorf("%+v", s)
	}
}
