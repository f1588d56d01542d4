//go:build integration

package operator_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// badInput is what cannot work: refused by the API server where that can know it, and by a condition otherwise. No member
// is given anything.
func (w *world) badInput(t *testing.T, nodes []*upgrading) {
	t.Run("a version that there is not", func(t *testing.T) {
		w.asks(t, v1alpha1.EtcdClusterSpec{})
		w.waitCondition(t, v1alpha1.ConditionUpgradeable, metav1.ConditionTrue, v1alpha1.ReasonAsExpected)
		w.refusedByAPI(t, `{"etcd":{"version":"latest"}}`, "write the version with three numbers")
		w.refusedByAPI(t, `{"etcd":{"version":"3.8.0"}}`, "only etcd 3.5, 3.6 and 3.7 are supported")
		w.refusedByAPI(t, `{"etcd":{"version":"4.0.0"}}`, "only etcd 3.5, 3.6 and 3.7 are supported")
	})
	t.Run("an image that is missing", func(t *testing.T) {
		w.patchSpec(t, `{"etcd":{"version":"3.7.99"}}`)
		w.refusedBy(t, v1alpha1.ReasonImageMissing, "pull image: not found")
		w.refusedByAPI(t, `{"etcd":{"version":"`+etcdtest.Version+`","image":"registry.k8s.io/etcd:3.7.2-0"}}`, "the image has another tag than the version")
		w.patchSpec(t, `{"etcd":null}`)
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
	})
	t.Run("a quota below the database's size", func(t *testing.T) {
		big, c := strings.Repeat("x", 1<<20), nodes[0].etcd.Client(t)
		for range 70 {
			_, err := c.Put(etcdtest.Context(t), "big", big)
			must(t, err)
		}
		etcdtest.Eventually(t, "the status to have the size", func() (bool, string) {
			for _, m := range w.cluster(t).Status.Members {
				if m.DBSizeBytes < 64<<20 {
					return false, m.Name
				}
			}
			return true, ""
		})
		w.refusedByAPI(t, `{"quota":"64Mi"}`, "a member's database is larger than this quota")
		w.asks(t, v1alpha1.EtcdClusterSpec{Quota: "64Mi"})
		w.refusedBy(t, v1alpha1.ReasonQuotaBelowDatabase, "spec.quota is 67108864", "etcd would refuse all writes")
		w.patchSpec(t, `{"quota":null}`)
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
	})
	waitLooks(t, rollingsOf(nodes), 5)
	upgradedOnce(t, nodes, 2)
}
