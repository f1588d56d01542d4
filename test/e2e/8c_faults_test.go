//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/test/harness"
)

// underWay waits until a roll-out has restarted an etcd and is not over.
func underWay(ctx context.Context, t *testing.T, before string) {
	t.Helper()
	must(t, harness.Until(ctx, "the roll-out to be under way", late, func(ctx context.Context) error {
		if r := restarted(before, containerIDs(t, "etcd")); len(r) == 0 {
			return errors.New("no etcd was restarted yet")
		}
		return nil
	}))
}

func holder(ctx context.Context) (string, error) {
	res, err := lab.Kubectl(ctx, "-n", "kube-system", "get", "lease", "ceo-operator", "--request-timeout=5s", "-o", "jsonpath={.spec.holderIdentity}")
	return res.Out, err
}

// signal reaches the operator of that name.
func signal(ctx context.Context, t *testing.T, sig, name string) {
	t.Helper()
	n, err := lab.Signal(ctx, sig, "ceo-operator", filepath.Join(lab.Scratch, name))
	must(t, err)
	if n != 1 {
		t.Fatalf("%d operators are called %s", n, name)
	}
}

// Story 11: what the operator lives on fails in the middle of a roll-out. Nothing is removed for it, never two members are
// down, and everything is completed afterwards (I6, I7, I23).
func Test10Faults(t *testing.T) {
	onlyInFull(t, "eight minutes")
	ctx, story := testContext(t, 30*time.Minute), t
	first := operated(ctx, t)
	r := recorded(ctx, t, "faults", nodes...)
	look := watched(ctx, t)

	t.Run("two operators, and the leading one stands still for longer than its lease", func(t *testing.T) {
		was, err := holder(ctx) // the API was idle
		must(t, err)
		operator(ctx, story, "operator-2", "cp-2")
		before := containerIDs(t, "etcd")
		redeploy(ctx, t)
		underWay(ctx, t, before)
		signal(ctx, t, "STOP", "operator-1")
		t.Cleanup(func() {
			_, _ = lab.Signal(context.WithoutCancel(ctx), "CONT", "ceo-operator", filepath.Join(lab.Scratch, "operator-1"))
		})
		must(t, harness.Until(ctx, "the other one to lead", late, func(ctx context.Context) error {
			now, err := holder(ctx)
			if err == nil && (now == was || now == "") {
				err = fmt.Errorf("%q leads", now)
			}
			return err
		}))
		// The one that stood still wakes up believing that it leads, in the middle of what the other one does. Who leads at
		// the end is open: the API server of whoever leads is restarted, too.
		signal(ctx, t, "CONT", "operator-1")
		rolledOut(ctx, t)
		allRestarted(t, before)
	})
	must(t, first.Stop()) // operator-2 is alone, with the API server of cp-2
	t.Run("its API server dies in the middle of a roll-out", func(t *testing.T) {
		const manifest, aside = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/root/kube-apiserver.yaml"
		before := containerIDs(t, "etcd")
		redeploy(ctx, t)
		underWay(ctx, t, before)
		_, err := lab.On(ctx, "cp-2", "sh", "-c", "mv "+manifest+" "+aside+"; pkill -KILL -x kube-apiserver; true")
		must(t, err)
		t.Cleanup(func() {
			_, _ = lab.On(context.WithoutCancel(ctx), "cp-2", "sh", "-c", "test -e "+aside+" && mv "+aside+" "+manifest+"; true")
		})
		// Longer than it may lead without being able to say so.
		passes(ctx, t, time.Minute, func() error { return nil })
		_, err = lab.On(ctx, "cp-2", "mv", aside, manifest)
		must(t, err)
		whole(ctx, t)
		rolledOut(ctx, t)
		allRestarted(t, before)
	})
	t.Run("an agent stops answering in the middle of a roll-out", func(t *testing.T) {
		before := containerIDs(t, "etcd")
		redeploy(ctx, t)
		underWay(ctx, t, before)
		// One whose turn is still to come, if there is one.
		last := nodes[2]
		for _, n := range nodes {
			if !slices.Contains(restarted(before, containerIDs(t, "etcd")), n) {
				last = n
			}
		}
		var stopped []string
		wake := func() {
			_, _ = lab.On(context.WithoutCancel(ctx), last, append([]string{"kill", "-CONT"}, stopped...)...)
		}
		t.Cleanup(wake)
		// The kubelet may replace it meanwhile; the new one stands still as well. Longer than spec.unhealthyTimeout.
		passes(ctx, t, timeout+15*time.Second, func() error {
			res, err := lab.On(ctx, last, "pgrep", "-f", "ceo [a]gent")
			if err != nil {
				return nil //nolint:nilerr // between two agents there is none
			}
			stopped = strings.Fields(res.Out)
			_, _ = lab.On(ctx, last, append([]string{"kill", "-STOP"}, stopped...)...) // one may have ended
			return nil
		})
		v, err := lab.EtcdCluster(ctx)
		must(t, err)
		if slices.Contains(restarted(before, containerIDs(t, "etcd")), last) {
			t.Logf("%s had its turn before its agent stood still", last)
		} else if s := v.Status.Rollout; s != nil && s.State == v1alpha1.RolloutComplete {
			t.Errorf("the roll-out is called complete without %s: %+v", last, s)
		}
		wake()
		rolledOut(ctx, t)
		allRestarted(t, before)
	})
	look()
	whole(ctx, t)
	condition(ctx, t, "Degraded", "False")
	condition(ctx, t, "QuorumSafe", "True")
	linearizable(ctx, t, r)
}

// passes calls do every two seconds until the time has passed.
func passes(ctx context.Context, t *testing.T, d time.Duration, do func() error) {
	t.Helper()
	began := time.Now()
	must(t, harness.Until(ctx, d.String()+" to pass", d+late, func(context.Context) error {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if left := d - time.Since(began); left > 0 {
			return fmt.Errorf("%s left", left)
		}
		return nil
	}))
}
