//go:build integration

package operator_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// asks replaces the EtcdCluster: one that is new has no status, so the API server cannot measure it by what runs, and the
// operator alone stands between the specification and the members.
func (w *world) asks(t *testing.T, spec v1alpha1.EtcdClusterSpec) {
	t.Helper()
	c := &v1alpha1.EtcdCluster{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ClusterName}}
	must(t, client.IgnoreNotFound(w.client.Delete(etcdtest.Context(t), c)))
	must(t, w.client.Create(etcdtest.Context(t), &v1alpha1.EtcdCluster{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ClusterName}, Spec: spec}))
}

func (w *world) asksVersion(t *testing.T, version string) {
	t.Helper()
	w.asks(t, v1alpha1.EtcdClusterSpec{Etcd: v1alpha1.EtcdSpec{Version: version}})
}

// refusedBy waits for the operator's refusal, with its reason and what to do.
func (w *world) refusedBy(t *testing.T, reason string, says ...string) {
	t.Helper()
	c := w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, reason)
	got := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionDegraded).Message
	for _, s := range says {
		if !strings.Contains(got, s) {
			t.Errorf("the condition does not say %q: %s", s, got)
		}
	}
}

// refusedByAPI: the API server's own rules refuse it.
func (w *world) refusedByAPI(t *testing.T, spec, says string) {
	t.Helper()
	c := w.cluster(t)
	err := w.client.Patch(etcdtest.Context(t), &c, client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+spec+`}`)))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: the API server says %v, not %q", spec, err, says)
	}
}

// TestUpgrade: etcd 3.5 to 3.6 to 3.7 under a writer, each version's real etcd behind it: a backup first, one member at a
// time, the leader last, and no acknowledged write lost. A jump, a downgrade and a 3.5 that is too old (P23) restart nothing.
func TestUpgrade(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	nodes, stopKubelets := w.newUpgrading3(t)
	defer stopKubelets()
	w.start(t)
	waitClusterVersion(t, nodes, etcdtest.Version35, "3.5.0")
	writer := startWriter(t, nodes)

	t.Run("two minor versions at once", func(t *testing.T) {
		w.asksVersion(t, etcdtest.Version)
		w.refusedBy(t, v1alpha1.ReasonVersionSkew, "from etcd 3.5 to "+etcdtest.Version, "set spec.etcd.version to a 3.6 first")
		w.patchSpec(t, `{"etcd":null}`)
		w.waitCondition(t, v1alpha1.ConditionUpgradeable, metav1.ConditionTrue, v1alpha1.ReasonAsExpected)
		w.refusedByAPI(t, `{"etcd":{"version":"`+etcdtest.Version+`"}}`, "more than one minor version above it")
		waitLooks(t, rollingsOf(nodes), 5)
		upgradedOnce(t, nodes, 0)
	})
	t.Run("a 3.5 that leaves removed members behind (P23)", func(t *testing.T) {
		nodes[1].say("3.5.25")
		// A look of before would take a backup for an upgrade that is refused after it.
		waitLooks(t, rollingsOf(nodes), 5)
		w.asksVersion(t, etcdtest.Version36)
		w.refusedBy(t, v1alpha1.ReasonVersionSkew, "cp-2 runs 3.5.25", "set spec.etcd.version to 3.5.26 first")
		w.patchSpec(t, `{"etcd":null}`)
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
		w.refusedByAPI(t, `{"etcd":{"version":"`+etcdtest.Version36+`"}}`, "every member must run 3.5.26 or newer before 3.6")
		waitLooks(t, rollingsOf(nodes), 5)
		upgradedOnce(t, nodes, 0)
		nodes[1].say("")
	})
	upgrade := func(to, cluster string, restarts int) {
		t.Helper()
		etcdtest.Eventually(t, "the API server to take "+to, func() (bool, string) {
			c := w.cluster(t)
			err := w.client.Patch(etcdtest.Context(t), &c, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"etcd":{"version":"`+to+`"}}}`)))
			if err != nil {
				return false, err.Error()
			}
			return true, ""
		})
		c := w.waitRollout(t, v1alpha1.RolloutComplete, 1)
		for c.Status.Rollout.Updated != "3/3" || c.Status.ClusterVersion != cluster {
			c = w.waitRollout(t, v1alpha1.RolloutComplete, 1)
		}
		waitClusterVersion(t, nodes, to, cluster)
		upgradedOnce(t, nodes, restarts)
		w.waitCondition(t, v1alpha1.ConditionUpgradeable, metav1.ConditionTrue, v1alpha1.ReasonAsExpected)
	}
	upgrade(etcdtest.Version36, "3.6.0", 1)
	upgrade(etcdtest.Version, "3.7.0", 2)
	for _, u := range nodes {
		l, err := u.keeper().List(etcdtest.Context(t))
		must(t, err)
		u.mu.Lock()
		if len(l.Good()) != u.created {
			t.Errorf("%s made %d backups, and %d in its store are good", u.name, u.created, len(l.Good()))
		}
		u.mu.Unlock()
	}
	writer.check(t, nodes)

	t.Run("a downgrade", func(t *testing.T) {
		w.refusedByAPI(t, `{"etcd":{"version":"`+etcdtest.Version36+`"}}`, "is a downgrade, which is refused")
		w.asksVersion(t, etcdtest.Version36)
		w.refusedBy(t, v1alpha1.ReasonVersionSkew, "the data is of etcd 3.7", "a downgrade is refused", "ceo recover")
		waitLooks(t, rollingsOf(nodes), 5)
		upgradedOnce(t, nodes, 2)
	})
	t.Run("bad input", func(t *testing.T) { w.badInput(t, nodes) })
}
