//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/test/harness"
)

// Story 17: what an administrator of etcd does between disasters: backups by the clock that are proven, defragmentation, and
// a database that is full. No etcd is restarted for it, and no acknowledged write is lost.
func Test17Regular(t *testing.T) {
	onlyInFull(t, "eight minutes")
	ctx := testContext(t, 25*time.Minute)
	operated(ctx, t)
	w := writer(ctx, t, "regular")
	look := watched(ctx, t)

	t.Run("backups by the clock are proven, and older ones go", func(t *testing.T) {
		apply(ctx, t, `{"apiVersion":"clusteretcd.io/v1alpha1","kind":"EtcdBackupSchedule","metadata":{"name":"minutely"},
			"spec":{"schedule":"* * * * *","prove":{"policy":"EveryNth","every":1},"retention":{"last":1},"historyLimit":1}}`)
		var s v1alpha1.EtcdBackupSchedule
		proven := func(not string) string {
			until(ctx, t, "etcdbackupschedule/minutely", &s, func() (bool, any) {
				return s.Status.LastProven != nil && s.Status.LastProven.ID != not &&
					meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionPruned), s.Status
			})
			return s.Status.LastProven.ID
		}
		proven(proven(""))
		condition(ctx, t, "BackupsProven", "True")
		kubectl(ctx, t, "delete", "etcdbackupschedule", "minutely", "--ignore-not-found", "--timeout=30s")
	})

	t.Run("a fragmented database is made small, member by member", func(t *testing.T) {
		before := containerIDs(t, "etcd")
		rewrite(ctx, t, 48)
		now, err := lab.Endpoint(ctx, "cp-1")
		must(t, err)
		_, err = lab.Etcdctl(ctx, "cp-1", "compaction", "--physical", fmt.Sprint(now.Revision))
		must(t, err)
		patch(ctx, t, `{"spec":{"defragmentation":{"minSize":"8Mi","fragmentationPercent":40}}}`)
		small(ctx, t)
		if r := restarted(before, containerIDs(t, "etcd")); len(r) != 0 {
			t.Errorf("etcd was restarted on %v", r)
		}
	})

	t.Run("a full database takes writes again", func(t *testing.T) {
		patch(ctx, t, `{"spec":{"quota":"64Mi","defragmentation":{"mode":"Disabled"}}}`)
		rolledOut(ctx, t)
		whole(ctx, t)
		before := containerIDs(t, "etcd")
		full := false
		for range 100 {
			if err := put(ctx); err != nil {
				if !strings.Contains(err.Error(), "database space exceeded") {
					continue // one that is not answered in time
				}
				full = true
				break
			}
		}
		if !full {
			t.Fatal("etcd never was full")
		}
		must(t, harness.Until(ctx, "etcd to take writes again", late, func(ctx context.Context) error {
			res, err := lab.Etcdctl(ctx, "cp-1", "alarm", "list")
			if err == nil && strings.Contains(res.Out, "NOSPACE") {
				err = errors.New("the alarm is raised")
			}
			return err
		}))
		small(ctx, t)
		acks, err := w.Acks()
		must(t, err)
		must(t, w.UntilAcked(ctx, len(acks)+20, late))
		if r := restarted(before, containerIDs(t, "etcd")); len(r) != 0 {
			t.Errorf("etcd was restarted on %v", r)
		}
	})
	look()
	whole(ctx, t)
	condition(ctx, t, "Degraded", "False")
	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes, none lost, longest pause %s (etcd was full meanwhile)", len(acks), longestPause(acks))
	// What follows has room again.
	patch(ctx, t, `{"spec":{"quota":"2Gi","defragmentation":null}}`)
	rolledOut(ctx, t)
}

// put writes a megabyte over the one before.
func put(ctx context.Context) error {
	return lab.Overwrite(ctx, "cp-1", "/ceo-regular/filler", 1000000)
}

func rewrite(ctx context.Context, t *testing.T, megabytes int) {
	t.Helper()
	for range megabytes {
		must(t, harness.Until(ctx, "a megabyte to be written", soon, put))
	}
}

// small waits until every member's file is.
func small(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, harness.Until(ctx, "every member's file to be small", late, func(ctx context.Context) error {
		for _, n := range nodes {
			if e, err := lab.Endpoint(ctx, n); err != nil {
				return err
			} else if e.Size > 32<<20 {
				return fmt.Errorf("that of %s is of %d bytes", n, e.Size)
			}
		}
		return nil
	}))
}
