//go:build integration

package operator_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/operator/endpoints"
)

func count(list string) int {
	if list == "" {
		return 0
	}
	return len(strings.Split(list, ","))
}

// waitEndpoints waits until so many are published, in the ConfigMap and in the slice, and so many of them unconfirmed.
func (w *world) waitEndpoints(t testing.TB, want, unconfirmed int) *corev1.ConfigMap {
	t.Helper()
	cm := &corev1.ConfigMap{}
	etcdtest.Eventually(t, fmt.Sprintf("%d endpoints, %d of them unconfirmed", want, unconfirmed), func() (bool, string) {
		err := w.client.Get(etcdtest.Context(t), client.ObjectKey{Namespace: endpoints.Namespace, Name: endpoints.ConfigMapName}, cm)
		if err != nil {
			return false, err.Error()
		}
		s := &discoveryv1.EndpointSlice{}
		if err := w.client.Get(etcdtest.Context(t), client.ObjectKey{Namespace: endpoints.Namespace, Name: endpoints.ServiceName + "-ipv4"}, s); err != nil {
			return false, err.Error()
		}
		ready := 0
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready++
			}
		}
		return count(cm.Data[endpoints.KeyEndpoints]) == want && count(cm.Data[endpoints.KeyUnconfirmed]) == unconfirmed &&
			len(s.Endpoints) == want && ready == want-unconfirmed, fmt.Sprintf("%v %v", cm.Data, s.Endpoints)
	})
	return cm
}

// endpointsKept: I23, a time-out takes nothing out of what is published, not even when nobody answers.
func (w *world) endpointsKept(t *testing.T, nodes []*double) {
	w.waitEndpoints(t, 3, 0)
	svc := &corev1.Service{}
	must(t, w.client.Get(etcdtest.Context(t), client.ObjectKey{Namespace: endpoints.Namespace, Name: endpoints.ServiceName}, svc))
	if svc.Spec.ClusterIP != corev1.ClusterIPNone || len(svc.Spec.Selector) != 0 || svc.Spec.Ports[0].Port != 2379 {
		t.Errorf("the Service: %+v", svc.Spec)
	}
	nodes[2].set(func() { nodes[2].hang = true })
	cm := w.waitEndpoints(t, 3, 1)
	if !strings.Contains(cm.Data[endpoints.KeyNote], "cp-3") {
		t.Errorf("it does not say who could not be asked: %v", cm.Data)
	}
	for _, n := range nodes {
		n.set(func() { n.hang = true })
	}
	w.waitCondition(t, v1alpha1.ConditionAvailable, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved)
	w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionUnknown, v1alpha1.ReasonNotObserved)
	w.looks(t, nodes, 3)
	if again := w.waitEndpoints(t, 3, 1); again.ResourceVersion != cm.ResourceVersion {
		t.Errorf("with nobody answering it was written: %v", again.Data)
	}
	for _, n := range nodes {
		n.set(func() { n.hang = false })
	}
	w.waitEndpoints(t, 3, 0)
	w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	// What somebody takes away comes back.
	must(t, w.client.Delete(etcdtest.Context(t), svc))
	etcdtest.Eventually(t, "the Service to be there again", func() (bool, string) {
		err := w.client.Get(etcdtest.Context(t), client.ObjectKeyFromObject(svc), &corev1.Service{})
		return err == nil, fmt.Sprint(err)
	})
}

// looks waits until the operator has looked so often more.
func (w *world) looks(t *testing.T, nodes []*double, n int) {
	t.Helper()
	from := nodes[0].lookCount()
	etcdtest.Eventually(t, "the operator to look again", func() (bool, string) { return nodes[0].lookCount() >= from+n, "" })
}

// recoveryOpen: P17, while a journal is open nothing is published, and the status says why; when it has ended its record
// is written, once, whichever operator sees it.
func (w *world) recoveryOpen(t *testing.T, nodes []*double, restart func()) {
	cm := w.waitEndpoints(t, 3, 0)
	rec := &agentpb.Recovery{Id: "20261126t120000z-abcd", State: "running", Started: timestamppb.Now(), Epoch: 1}
	nodes[1].set(func() { nodes[1].recovery = rec })
	c := w.waitCondition(t, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonRecoveryOpen)
	if c.Status.OpenRecovery != rec.Id || !strings.Contains(c.Status.Summary, rec.Id) {
		t.Errorf("the status: %q %q", c.Status.OpenRecovery, c.Status.Summary)
	}
	w.waitCondition(t, v1alpha1.ConditionUpgradeable, metav1.ConditionFalse, v1alpha1.ReasonRecoveryOpen)
	nodes[2].set(func() { nodes[2].hang = true })
	w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonAgentUnreachable)
	w.looks(t, nodes, 3)
	if again := w.waitEndpoints(t, 3, 0); again.ResourceVersion != cm.ResourceVersion {
		t.Errorf("while a recovery is open it was written: %v", again.Data)
	}
	nodes[2].set(func() { nodes[2].hang = false })
	var list v1alpha1.EtcdRecoveryList
	must(t, w.client.List(etcdtest.Context(t), &list))
	if len(list.Items) != 0 {
		t.Errorf("recorded before it has ended: %+v", list.Items)
	}

	nodes[1].set(func() {
		nodes[1].recovery = nil
		nodes[1].ended = []*agentpb.Recovery{{Id: rec.Id, State: "done", Started: rec.Started, Epoch: 1}}
		nodes[1].lineage = []*agentpb.Generation{{Epoch: 0, ClusterId: "abc"}, {Epoch: 1, ClusterId: c.Status.ClusterID, Recovery: rec.Id}}
	})
	r := w.waitRecord(t)
	if r.Status.RecoveryID != rec.Id || r.Status.Coordinator != "cp-2" || r.Status.OldClusterID != "abc" || r.Status.NewClusterID != c.Status.ClusterID ||
		r.Status.Epoch != 1 || meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionComplete).Reason != v1alpha1.ReasonRecovered {
		t.Errorf("the record: %+v", r.Status)
	}
	c = w.waitCondition(t, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonAtRest)
	if c.Status.OpenRecovery != "" || c.Status.Epoch != 1 {
		t.Errorf("the status after it: %q epoch %d", c.Status.OpenRecovery, c.Status.Epoch)
	}

	// Another operator, which was not there, writes nothing of it again.
	restart()
	w.looks(t, nodes, 6)
	if again := w.waitRecord(t); again.ResourceVersion != r.ResourceVersion {
		t.Errorf("the record was written again: %+v", again)
	}
}

// waitRecord waits for the one record, with its status.
func (w *world) waitRecord(t *testing.T) v1alpha1.EtcdRecovery {
	t.Helper()
	var list v1alpha1.EtcdRecoveryList
	etcdtest.Eventually(t, "the record of the recovery", func() (bool, string) {
		must(t, w.client.List(etcdtest.Context(t), &list))
		return len(list.Items) == 1 && list.Items[0].Status.RecoveryID != "", fmt.Sprintf("%d records", len(list.Items))
	})
	return list.Items[0]
}
