//go:build integration

package operator_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// backupOnce: an agent makes the backup and the word of it is lost. The backup is found, not made again, and is proven
// by a real restore that a real etcd serves.
func (w *world) backupOnce(t *testing.T, nodes []*double) {
	n := nodes[1]
	n.set(func() { n.dieAfterBackup = true })
	b := &v1alpha1.EtcdBackup{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: v1alpha1.EtcdBackupSpec{Prove: new(true), Node: "cp-2"}}
	must(t, w.client.Create(etcdtest.Context(t), b))
	etcdtest.Eventually(t, "the backup to be proven", func() (bool, string) {
		must(t, w.client.Get(etcdtest.Context(t), client.ObjectKeyFromObject(b), b))
		return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionProven), fmt.Sprint(b.Status.Conditions)
	})
	s := b.Status
	if !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionSucceeded) || s.Backup == nil || s.Backup.Revision == 0 || len(s.Backup.Digest) != 64 ||
		s.Backup.ProvenTime == nil || s.Node != "cp-2" || s.Location == "" || s.StoredBytes == 0 || s.ProofRestoreTime == nil {
		t.Errorf("the status: %+v %+v", s, s.Backup)
	}
	l, err := n.keeper().List(etcdtest.Context(t))
	must(t, err)
	n.mu.Lock()
	created := n.created
	n.mu.Unlock()
	if created != 1 || len(l.Entries) != 1 {
		t.Errorf("%d backups were made for one EtcdBackup, %d lie in the store", created, len(l.Entries))
	}
	c := w.waitCondition(t, v1alpha1.ConditionBackupsProven, metav1.ConditionTrue, v1alpha1.ReasonProven)
	if c.Status.LastProvenBackup == nil || c.Status.LastProvenBackup.ID != s.Backup.ID {
		t.Errorf("the last proven backup: %+v", c.Status.LastProvenBackup)
	}
}
