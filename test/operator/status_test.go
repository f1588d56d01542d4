//go:build integration

package operator_test

import (
	"fmt"
	"syscall"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// waitCondition waits until the EtcdCluster's condition has the status and the reason.
func (w *world) waitCondition(t *testing.T, condition string, want metav1.ConditionStatus, reason string) v1alpha1.EtcdCluster {
	t.Helper()
	var c v1alpha1.EtcdCluster
	etcdtest.Eventually(t, fmt.Sprintf("%s to be %s, %s", condition, want, reason), func() (bool, string) {
		c = w.cluster(t)
		got := meta.FindStatusCondition(c.Status.Conditions, condition)
		if got == nil {
			return false, "there is no such condition"
		}
		// The status is about the specification as it is once every controller has seen that.
		return got.Status == want && got.Reason == reason && c.Status.ObservedGeneration == c.Generation, fmt.Sprintf("%s %s: %s", got.Status, got.Reason, got.Message)
	})
	return c
}

// TestRealAgent is the whole path with nothing replaced: the agent, its etcd, the apiserver, the operator.
func TestRealAgent(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	h := w.newHost(t, "cp-1", "127.0.0.1")
	h.etcd.MetricsURL = "http://127.0.0.1:2381"
	h.etcd.Start(t, "--initial-cluster=cp-1="+h.etcd.PeerURL, "--initial-cluster-token=real", "--initial-cluster-state=new")
	h.etcd.WaitHealthy(t)
	h.runAgent(t)
	w.newNode(t, "cp-1", "127.0.0.1")
	w.start(t)
	w.newCluster(t)
	c := w.waitCondition(t, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonQuorumServes)
	w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionFalse, v1alpha1.ReasonSingleMember)
	if len(c.Status.Members) != 1 {
		t.Fatalf("members: %+v", c.Status.Members)
	}
	m := c.Status.Members[0]
	if m.Name != "cp-1" || m.Node != "cp-1" || m.Role != v1alpha1.RoleLeader || m.Health != v1alpha1.HealthHealthy ||
		m.Version != etcdtest.Version || m.Revision == 0 || m.DBSizeBytes == 0 || len(m.Certificates) != 5 {
		t.Errorf("the member: %+v", m)
	}
	if c.Status.ClusterID == "" || c.Status.Ready != "1/1" || c.Status.ClusterVersion != "3.7.0" || c.Status.CertificatesValidUntil == nil {
		t.Errorf("the status: %+v", c.Status)
	}
}

// TestStatus: three nodes at rest cost no write; P21, I23: an agent that hangs and an etcd that is frozen are unknown,
// and hide nothing of the others; one that was killed is down.
func TestStatus(t *testing.T) {
	if !alone(t) {
		return
	}
	whole := t
	w := newWorld(t)
	nodes := w.newCluster3(t)
	stop := w.start(t)

	// It reports if there is an EtcdCluster, and makes none.
	etcdtest.Eventually(t, "the operator to look", func() (bool, string) { return nodes[0].lookCount() > 3, "" })
	var none v1alpha1.EtcdClusterList
	must(t, w.client.List(etcdtest.Context(t), &none))
	if len(none.Items) != 0 {
		t.Errorf("an EtcdCluster was made: %+v", none.Items)
	}

	w.newCluster(t)
	c := w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	w.waitCondition(t, v1alpha1.ConditionBackupsProven, metav1.ConditionFalse, v1alpha1.ReasonNeverProven)
	w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
	w.waitCondition(t, v1alpha1.ConditionUpgradeable, metav1.ConditionTrue, v1alpha1.ReasonAsExpected)
	if c.Status.Ready != "3/3" || len(c.Status.Members) != 3 || c.Status.ObservedGeneration != c.Generation {
		t.Errorf("the status: %+v", c.Status)
	}
	w.noWriteAtRest(t, nodes)

	t.Run("an agent that hangs is unknown (P21, I23)", func(t *testing.T) {
		nodes[1].set(func() { nodes[1].hang = true })
		c := w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved)
		w.waitCondition(t, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonQuorumServes)
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonAgentUnreachable)
		for _, m := range c.Status.Members {
			if want := map[bool]v1alpha1.MemberHealth{true: v1alpha1.HealthUnknown, false: v1alpha1.HealthHealthy}[m.Name == "cp-2"]; m.Health != want {
				t.Errorf("%s is %s, want %s", m.Name, m.Health, want)
			}
		}
		nodes[1].set(func() { nodes[1].hang = false })
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	})
	t.Run("an etcd that is frozen is unknown (I23)", func(t *testing.T) {
		pid := nodes[2].etcd.Pid()
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
		c := w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved)
		if m := c.Status.Members[2]; m.Health != v1alpha1.HealthUnknown {
			t.Errorf("%+v", m)
		}
		must(t, syscall.Kill(pid, syscall.SIGCONT))
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	})
	t.Run("endpoints", func(t *testing.T) { w.endpointsKept(t, nodes) })
	t.Run("a recovery (P17)", func(t *testing.T) { w.recoveryOpen(t, nodes, func() { stop(); w.start(whole) }) })
	t.Run("a backup whose agent's answer was lost", func(t *testing.T) { w.backupOnce(t, nodes) })
	t.Run("an etcd that was killed is down", func(t *testing.T) {
		nodes[2].etcd.Kill(t)
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonMemberUnhealthy)
		c := w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionFalse, v1alpha1.ReasonCannotLoseOne)
		if m := c.Status.Members[2]; m.Health != v1alpha1.HealthUnhealthy || c.Status.Ready != "2/3" {
			t.Errorf("%s %+v", c.Status.Ready, m)
		}
		w.waitEndpoints(t, 2, 0)
		nodes[1].etcd.Kill(t)
		w.waitCondition(t, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonQuorumLost)
	})
	w.eventsOnTransitionsOnly(t)
}

// noWriteAtRest counts what the operator writes while it looks ten times more. On a busy machine an agent answers too late
// now and then: that is a change, which is written, and not rest. An operator that writes without a change writes at every
// look, or soon after.
func (w *world) noWriteAtRest(t *testing.T, nodes []*double) {
	t.Helper()
	look := func(n int) {
		from := nodes[0].lookCount()
		etcdtest.Eventually(t, "the operator to look again", func() (bool, string) { return nodes[0].lookCount() >= from+n, "" })
	}
	look(4) // what is on its way arrives
	c := nodes[0].etcd.Client(t)
	etcdtest.Eventually(t, "ten looks without an API write", func() (bool, string) {
		before := w.writes.Load()
		// Clients write meanwhile, as they always do.
		for range 50 {
			_, err := c.Put(etcdtest.Context(t), "k", "v")
			must(t, err)
		}
		look(10)
		n := w.writes.Load() - before
		return n == 0, fmt.Sprintf("%d API writes: %v", n, w.lastWrites())
	})
}

func (w *world) eventsOnTransitionsOnly(t *testing.T) {
	t.Helper()
	k, err := kubernetes.NewForConfig(w.api.Config)
	must(t, err)
	var list *eventsv1.EventList
	etcdtest.Eventually(t, "the event of the lost quorum", func() (bool, string) {
		list, err = k.EventsV1().Events("").List(etcdtest.Context(t), metav1.ListOptions{})
		must(t, err)
		for _, e := range list.Items {
			if e.Reason == v1alpha1.ReasonQuorumLost {
				return true, ""
			}
		}
		return false, fmt.Sprint(len(list.Items))
	})
	// Each fault of this test changes a few conditions twice. An event each look, of which there are some 200, would be
	// more than a thousand.
	if len(list.Items) > 120 {
		t.Errorf("%d events", len(list.Items))
	}
}
