//go:build integration

package operator_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// TestSchedule: with the real agent, the specification's place is carried to the node, and a schedule's backup is made
// there, proven by a real etcd, and the older ones are removed. A
// change of the place removes nothing in the new one (I17, I18, I20, P29).
func TestSchedule(t *testing.T) {
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

	// Of the node's own: three backups, of which the retention keeps the newest.
	k := keep.Keeper{Paths: h.paths, Version: "test"}
	place := filepath.Join(t.TempDir(), "backups")
	must(t, os.WriteFile(h.paths.BackupConfig(), []byte("compression: fastest\n"), 0o600))
	must(t, w.client.Create(etcdtest.Context(t), &v1alpha1.EtcdCluster{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ClusterName}, Spec: v1alpha1.EtcdClusterSpec{Backup: v1alpha1.BackupSpec{Location: "file://" + place}},
	}))
	w.start(t)
	etcdtest.Eventually(t, "the settings to be on the node", func() (bool, string) {
		s, _, err := node.LoadSettings(h.paths)
		must(t, err)
		return s.Backup.Location == "file://"+place && s.LeafLife == 8760*3600, fmt.Sprintf("%+v", s)
	})
	placed, err := os.Stat(h.paths.Settings())
	must(t, err)
	for range 3 {
		_, err := k.Create(etcdtest.Context(t), true, func(string, int64, int64) {})
		must(t, err)
	}

	s := &v1alpha1.EtcdBackupSchedule{
		ObjectMeta: metav1.ObjectMeta{Name: "minutely"},
		Spec: v1alpha1.EtcdBackupScheduleSpec{
			Schedule: "* * * * *", HistoryLimit: 1, Retention: v1alpha1.RetentionSpec{Last: 1},
			Prove: v1alpha1.ProveSpec{Policy: v1alpha1.ProveEveryNth, Every: 1},
		},
	}
	must(t, w.client.Create(etcdtest.Context(t), s))
	// The next minute is at most a minute away; what is waited for is the state.
	wait := func(what string, ok func() bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		for {
			changes, err := w.client.Watch(ctx, &v1alpha1.EtcdBackupScheduleList{})
			must(t, err)
			// The watch begins with what there is, and may end before its time.
			for e := range changes.ResultChan() {
				now, is := e.Object.(*v1alpha1.EtcdBackupSchedule)
				if !is || now.Name != s.Name {
					continue
				}
				if *s = *now; ok() {
					changes.Stop()
					return
				}
			}
			if ctx.Err() != nil {
				t.Fatalf("waited for %s: %+v", what, s.Status)
			}
		}
	}
	wait("a proven backup and the older ones removed", func() bool {
		return s.Status.LastProven != nil && s.Status.PruneAfter == "" && meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionPruned)
	})
	if !meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionUpToDate) || !meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionProven) || s.Status.NextTime == nil {
		t.Errorf("the status: %+v", s.Status)
	}
	first := s.Status.LastProven.ID
	var bs v1alpha1.EtcdBackupList
	must(t, w.client.List(etcdtest.Context(t), &bs, client.MatchingLabels{v1alpha1.ScheduleLabel: "minutely"}))
	if len(bs.Items) == 0 || !metav1.IsControlledBy(&bs.Items[0], s) || bs.Items[0].Status.Location != "file://"+place {
		t.Fatalf("the EtcdBackups: %+v", bs.Items)
	}
	l, err := k.List(etcdtest.Context(t))
	must(t, err)
	if l.Store != "file://"+place || len(l.Entries) > 2 || l.Proven() == nil {
		t.Errorf("in the store: %+v", l)
	}
	w.waitCondition(t, v1alpha1.ConditionBackupsProven, metav1.ConditionTrue, v1alpha1.ReasonProven)
	if st, err := os.Stat(h.paths.Settings()); err != nil || !st.ModTime().Equal(placed.ModTime()) {
		t.Errorf("settings that are there already were written again: %v %v", st.ModTime(), err)
	}

	t.Run("the history is bounded", func(t *testing.T) {
		wait("the next backup", func() bool {
			return s.Status.LastProven.ID != first && s.Status.PruneAfter == "" && s.Status.Active == ""
		})
		etcdtest.Eventually(t, "the older EtcdBackup to be gone", func() (bool, string) {
			must(t, w.client.List(etcdtest.Context(t), &bs))
			return len(bs.Items) <= 2, fmt.Sprint(len(bs.Items))
		})
		if l, err = k.List(etcdtest.Context(t)); err != nil || len(l.Good()) > 2 {
			t.Errorf("in the store: %+v %v", l, err)
		}
	})
	t.Run("elsewhere nothing is removed", func(t *testing.T) {
		before, err := k.List(etcdtest.Context(t))
		must(t, err)
		_, err = k.PruneAs(etcdtest.Context(t), keep.PruneOptions{Store: "file:///srv/other"})
		after, e := k.List(etcdtest.Context(t))
		must(t, e)
		if err == nil || len(after.Entries) < len(before.Entries) {
			t.Errorf("%v: %d of %d are left", err, len(after.Entries), len(before.Entries))
		}
	})
}
