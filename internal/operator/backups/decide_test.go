package backups

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/operator/observe"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func observed(change func(*observe.Observation)) observe.Observation {
	members := []*agentpb.Member{{Id: "a", Name: "cp-1"}, {Id: "b", Name: "cp-2"}}
	o := observe.Observation{At: now}
	for _, m := range members {
		o.Nodes = append(o.Nodes, observe.Node{Name: m.Name, State: &agentpb.NodeState{Name: m.Name, Etcd: &agentpb.Etcd{
			Answers: true, HasLeader: true, LeaderId: "a", MemberId: m.Id, ClusterId: "1", Members: members, MembersLinearizable: true,
		}}})
	}
	if change != nil {
		change(&o)
	}
	return o
}

func TestDecide(t *testing.T) {
	is := func(condition string, s metav1.ConditionStatus) metav1.Condition {
		return metav1.Condition{Type: condition, Status: s}
	}
	begun := func(ago time.Duration) v1alpha1.EtcdBackupStatus {
		at := metav1.NewTime(now.Add(-ago))
		return v1alpha1.EtcdBackupStatus{StartTime: &at, Node: "cp-2", Conditions: []metav1.Condition{is("Succeeded", metav1.ConditionUnknown)}}
	}
	ended := func(cs ...metav1.Condition) v1alpha1.EtcdBackupStatus {
		s := begun(time.Minute)
		s.Conditions = cs
		return s
	}
	recovery := func(o *observe.Observation) { o.Nodes[0].State.Recovery = &agentpb.Recovery{Id: "r"} }
	dark := func(o *observe.Observation) { o.Nodes[1].State = nil }
	yes, no := metav1.ConditionTrue, metav1.ConditionFalse
	for _, tt := range []struct {
		name   string
		spec   v1alpha1.EtcdBackupSpec
		status v1alpha1.EtcdBackupStatus
		o      observe.Observation
		kind   Kind
		node   string
	}{
		{"new: a follower's node", v1alpha1.EtcdBackupSpec{}, v1alpha1.EtcdBackupStatus{}, observed(nil), Claim, "cp-2"},
		{"new, no follower: the leader's", v1alpha1.EtcdBackupSpec{}, v1alpha1.EtcdBackupStatus{}, observed(dark), Claim, "cp-1"},
		{"new, a node named", v1alpha1.EtcdBackupSpec{Node: "cp-1"}, v1alpha1.EtcdBackupStatus{}, observed(nil), Claim, "cp-1"},
		{"I23 the named one is dark", v1alpha1.EtcdBackupSpec{Node: "cp-2"}, v1alpha1.EtcdBackupStatus{}, observed(dark), Wait, ""},
		{"the named one is not there", v1alpha1.EtcdBackupSpec{Node: "x"}, v1alpha1.EtcdBackupStatus{}, observed(nil), Wait, ""},
		{"P17 new, a recovery is open", v1alpha1.EtcdBackupSpec{}, v1alpha1.EtcdBackupStatus{}, observed(recovery), Wait, ""},
		{"P17 begun, a recovery is open", v1alpha1.EtcdBackupSpec{}, begun(time.Minute), observed(recovery), Wait, ""},
		{"begun: on the same node", v1alpha1.EtcdBackupSpec{}, begun(time.Minute), observed(nil), Make, "cp-2"},
		{"I23 begun, its node is dark: no other", v1alpha1.EtcdBackupSpec{}, begun(time.Minute), observed(dark), Wait, ""},
		{"begun long ago", v1alpha1.EtcdBackupSpec{}, begun(Patience + time.Second), observed(dark), Fail, ""},
		{"made", v1alpha1.EtcdBackupSpec{}, ended(is("Succeeded", yes)), observed(nil), Skip, ""},
		{"made, to be proven", v1alpha1.EtcdBackupSpec{Prove: new(true)}, ended(is("Succeeded", yes)), observed(nil), Prove, "cp-2"},
		{"failed is final", v1alpha1.EtcdBackupSpec{Prove: new(true)}, ended(is("Succeeded", no)), observed(nil), Nothing, ""},
		{"proven is final", v1alpha1.EtcdBackupSpec{Prove: new(true)}, ended(is("Succeeded", yes), is("Proven", yes)), observed(nil), Nothing, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := Decide(v1alpha1.EtcdBackup{Spec: tt.spec, Status: tt.status}, tt.o)
			if a.Kind != tt.kind || tt.node != "" && a.Node.Name != tt.node || a.Reason == "" {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	entry := func(id, node string, at time.Time, problem string) backup.Entry {
		return backup.Entry{ID: id, Problem: problem, Manifest: backup.Manifest{ID: id, StartedAt: at, Cluster: backup.Cluster{Node: node}}}
	}
	for _, tt := range []struct {
		name string
		e    backup.Entry
		want bool
	}{
		{"made since", entry("1", "cp-2", now.Add(time.Second), ""), true},
		{"in the same second", entry("1", "cp-2", now, ""), true},
		{"older", entry("1", "cp-2", now.Add(-time.Second), ""), false},
		{"another node's", entry("1", "cp-1", now.Add(time.Second), ""), false},
		{"another EtcdBackup's", entry("taken", "cp-2", now.Add(time.Second), ""), false},
		{"damaged", entry("1", "cp-2", now.Add(time.Second), "cut off"), false},
	} {
		if _, ok := Adopt([]backup.Entry{tt.e}, "cp-2", now, map[string]bool{"taken": true}); ok != tt.want {
			t.Errorf("%s: %v", tt.name, ok)
		}
	}
}
