package members

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// The call goes to a node that can make the change, and says what it was decided on.
func TestThrough(t *testing.T) {
	for _, c := range []struct {
		name  string
		given func(*observe.Observation)
		a     etcd.Action
		want  string
	}{
		{"the leader's node", func(*observe.Observation) {}, etcd.Action{Kind: etcd.Remove, MemberID: 2}, "cp-1"},
		{"not that of the one that goes", func(*observe.Observation) {}, etcd.Action{Kind: etcd.Remove, MemberID: 1}, "cp-2"},
		{"the leader's own to hand over", func(*observe.Observation) {}, etcd.Action{Kind: etcd.MoveLeader, MemberID: 1, To: 2}, "cp-1"},
		{"a dark one is not asked", func(o *observe.Observation) { o.Nodes[0].State = nil }, etcd.Action{Kind: etcd.AddLearner}, "cp-2"},
		{"one alone makes its own changes", func(o *observe.Observation) { o.Nodes = o.Nodes[:1]; list(*o, 1) }, etcd.Action{Kind: etcd.UpdatePeerURL, MemberID: 1}, "cp-1"},
		{"but not its own end", func(o *observe.Observation) { o.Nodes = o.Nodes[:1]; list(*o, 1) }, etcd.Action{Kind: etcd.Remove, MemberID: 1}, ""},
		{"a learner is not asked", func(o *observe.Observation) {
			members(*o, 2, func(m *agentpb.Member) { m.Learner = true })
		}, etcd.Action{Kind: etcd.Remove, MemberID: 1}, "cp-3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := world()
			c.given(&o)
			g, _ := gather(o, memory{})
			got, ok := through(g, c.a)
			if got != c.want || ok != (c.want != "") {
				t.Fatalf("%q %t", got, ok)
			}
		})
	}
}

func TestDoing(t *testing.T) {
	for _, c := range []struct {
		name  string
		given func(*observe.Observation)
		want  progress
	}{
		{"nothing at rest", func(*observe.Observation) {}, progress{}},
		{"a pause speaks for itself", func(o *observe.Observation) {
			o.Cluster.Spec.ManagementState = v1alpha1.Unmanaged
			o.Nodes[2].Wanted = false
		}, progress{}},
		{"adding", func(o *observe.Observation) { empty(*o, 3, "waiting", "add"); list(*o, 1, 2) }, progress{Active: true, Reason: v1alpha1.ReasonAdding}},
		{"a learner in flight", func(o *observe.Observation) {
			members(*o, 3, func(m *agentpb.Member) { m.Learner = true })
		}, progress{Active: true, Reason: v1alpha1.ReasonAdding}},
		{"replacing", func(o *observe.Observation) { empty(*o, 3, "refused", "replace") }, progress{Active: true, Reason: v1alpha1.ReasonReplacing}},
		{"removing", func(o *observe.Observation) { o.Nodes[2].Wanted = false }, progress{Active: true, Reason: v1alpha1.ReasonRemoving}},
		{"waiting", func(o *observe.Observation) { o.Nodes = o.Nodes[:2] }, progress{Reason: v1alpha1.ReasonWaiting}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := world()
			c.given(&o)
			g, _ := gather(o, memory{})
			got := doing(g, etcd.Decide(g.view))
			if (got.Message == "") != (c.want.Reason == "") || strings.Contains(got.Message, "%!") {
				t.Errorf("%q", got.Message)
			}
			got.Message = ""
			if got != c.want {
				t.Fatalf("%+v", got)
			}
		})
	}
}

func TestAt(t *testing.T) {
	for _, c := range [][3]string{
		{"https://10.0.0.1:2380", "10.0.0.9", "https://10.0.0.9:2380"},
		{"https://[fd00::1]:2380", "fd00::9", "https://[fd00::9]:2380"},
		{"http://10.0.0.1", "10.0.0.9", "http://10.0.0.9"},
		{"://", "10.0.0.9", "://"},
	} {
		if got := at(c[0], c[1]); got != c[2] {
			t.Errorf("%s at %s: %s", c[0], c[1], got)
		}
	}
}
