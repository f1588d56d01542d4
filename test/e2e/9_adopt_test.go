//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// gap is the longest that is to pass between two acknowledged writes while a cluster is adopted.
const gap = 5 * time.Second

// Story 9: a cluster that kubeadm made, without anything of ceo on it, is adopted by `ceo install --apply` and `ceo
// adopt` while a writer runs: one restart at a time, no acknowledged write lost, and kubeadm goes on working. The operator
// runs as the chart's Deployment, the agents are placed by its installer.
func Test9Adopt(t *testing.T) {
	ctx := testContext(t, 30*time.Minute)
	whole(ctx, t)
	must(t, lab.Load(ctx, "", 3))
	_, err := lab.Kubectl(ctx, "delete", "etcdcluster", "--all", "--ignore-not-found")
	if err != nil && !strings.Contains(err.Error(), "the server doesn't have a resource type") {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if _, err := lab.Ceo(ctx, n, "node", "uninstall"); err != nil {
			t.Logf("%s has no ceo to take off: %v", n, err)
		}
	}
	whole(ctx, t)

	w := writer(ctx, t, "adopt")
	must(t, w.UntilAcked(ctx, 20, soon))
	began := time.Now()
	image := strings.Split(harness.Image(""), ":")
	_, err = lab.Ceo(ctx, "cp-1", "install", "--apply", "--set", "image.repository="+image[0], "--set", "image.tag="+image[1], "--set", "installer.interval=10s")
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			res, _ := lab.Kubectl(context.WithoutCancel(ctx), "-n", "kube-system", "get", "pods", "-o", "wide")
			t.Log(res.Out)
			for _, app := range []string{"ceo-operator", "ceo-installer"} {
				res, _ = lab.Kubectl(context.WithoutCancel(ctx), "-n", "kube-system", "logs", "-l", "app.kubernetes.io/name="+app, "--prefix", "--tail=30")
				t.Logf("%s:\n%s", app, res.Out)
			}
			res, _ = lab.Kubectl(context.WithoutCancel(ctx), "get", "etcdcluster", "cluster", "-o", "jsonpath={.status.conditions}")
			t.Logf("conditions: %s", res.Out)
		}
	})
	for _, what := range []string{"daemonset/ceo-installer", "deployment/ceo-operator"} {
		must(t, harness.Until(ctx, what+" to be rolled out", late, func(ctx context.Context) error {
			_, err := lab.Kubectl(ctx, "-n", "kube-system", "rollout", "status", what, "--timeout=10s")
			return err
		}))
	}
	knows(ctx, t, 3)
	ids := containerIDs(t, "etcd")
	must(t, harness.Until(ctx, "ceo adopt to have a plan", late, func(ctx context.Context) error {
		_, err := lab.Ceo(ctx, "cp-1", "adopt", "--dry-run")
		// 2: there is something to do.
		var failed *harness.CmdError
		if errors.As(err, &failed) && failed.Result.Code == 2 {
			return nil
		}
		return fmt.Errorf("it found nothing to do: %w", err)
	}))
	if now := containerIDs(t, "etcd"); now != ids {
		t.Fatalf("installing restarted etcd: %s, was %s", now, ids)
	}
	res, err := lab.Ceo(ctx, "cp-1", "adopt", "--yes", "--confirm-cluster=ceo-lab")
	if err != nil {
		t.Fatalf("%v\n%s", err, res.Out)
	}
	t.Logf("adopted after %s:\n%s", time.Since(began).Round(time.Second), res.Out)
	whole(ctx, t)
	for _, n := range nodes {
		res, err := lab.On(ctx, n, "cat", "/etc/kubernetes/manifests/etcd.yaml")
		must(t, err)
		if !strings.Contains(res.Out, "guard") {
			t.Errorf("%s: etcd is not under the guard", n)
		}
	}
	condition(ctx, t, "Available", "True")
	condition(ctx, t, "QuorumSafe", "True")
	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes, none lost, longest pause %s (goal: %s)", len(acks), longestPause(acks), gap)

	t.Run("again changes nothing", func(t *testing.T) {
		ids := containerIDs(t, "etcd")
		res, err := lab.Ceo(ctx, "cp-2", "adopt", "--yes", "--confirm-cluster=ceo-lab")
		if err != nil {
			t.Fatalf("%v\n%s", err, res.Out)
		}
		if now := containerIDs(t, "etcd"); now != ids {
			t.Fatalf("etcd was restarted: %s, was %s", now, ids)
		}
	})
	t.Run("kubeadm goes on working", func(t *testing.T) {
		_, err := lab.On(ctx, "cp-1", "kubeadm", "certs", "check-expiration")
		must(t, err)
	})
	t.Run("a further node joins by kubeadm, and gets its agent by itself", func(t *testing.T) {
		_, err := lab.Lab(ctx, "add", "4")
		must(t, err)
		knows(ctx, t, 4)
		membersAre(ctx, t, "cp-1", "cp-2", "cp-3", "cp-4")
		seenHealthy(ctx, t, "cp-4")
		if !full() {
			return
		}
		// Not before five minutes: kubeadm may still be at work on the node.
		must(t, harness.Until(ctx, "etcd on cp-4 to be under the guard", 2*late, func(ctx context.Context) error {
			res, err := lab.On(ctx, "cp-4", "cat", "/etc/kubernetes/manifests/etcd.yaml")
			if err == nil && !strings.Contains(res.Out, "guard") {
				err = errors.New("it is kubeadm's own yet")
			}
			return err
		}))
		membersAre(ctx, t, "cp-1", "cp-2", "cp-3", "cp-4")
	})
	t.Run("a node that is no control-plane node any more leaves", func(t *testing.T) {
		kubectl(ctx, t, "label", "node", "cp-4", "node-role.kubernetes.io/control-plane-")
		membersAre(ctx, t, "cp-1", "cp-2", "cp-3")
		_, err = lab.Lab(ctx, "remove", "cp-4")
		must(t, err)
		whole(ctx, t)
	})
}
