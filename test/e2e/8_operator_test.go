//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/test/harness"
)

// timeout is spec.unhealthyTimeout of these stories: the shortest that the API takes.
const timeout = time.Minute

const clusterObject = `apiVersion: clusteretcd.io/v1alpha1
kind: EtcdCluster
metadata: {name: cluster}
spec:
  unhealthyTimeout: 1m
`

// operated makes the API and starts an operator.
func operated(ctx context.Context, t *testing.T) *harness.Load {
	t.Helper()
	return operatedOn(ctx, t, 3)
}

// operatedOn is operated, on a lab of so many nodes.
func operatedOn(ctx context.Context, t *testing.T, n int) *harness.Load {
	t.Helper()
	var flags []string
	if n == 1 {
		flags = []string{"--accept-risk=downtime"} // nobody serves while its only etcd restarts
	}
	must(t, lab.Install(ctx, "", n, flags...))
	must(t, lab.Whole(ctx, n, late))
	kubectl(ctx, t, "apply", "-f", filepath.Join(lab.Root, "charts/ceo/crds"))
	kubectl(ctx, t, "wait", "--for=condition=Established", "--timeout=60s", "crd/etcdclusters.clusteretcd.io")
	file := filepath.Join(lab.Scratch, "cluster.yaml")
	must(t, os.WriteFile(file, []byte(clusterObject), 0o600))
	kubectl(ctx, t, "apply", "-f", file)
	o := operator(ctx, t, "operator-1", "cp-1")
	condition(ctx, t, "Available", "True")
	return o
}

func operator(ctx context.Context, t *testing.T, name, node string) *harness.Load {
	t.Helper()
	o, err := lab.StartOperator(ctx, name, node)
	must(t, err)
	endsWith(t, o, name)
	return o
}

// endsWith ends an operator with the test, and shows the last that it said if that failed.
func endsWith(t *testing.T, o *harness.Load, name string) {
	t.Cleanup(func() {
		_ = o.Stop()
		if t.Failed() {
			b, _ := os.ReadFile(o.File)
			lines := strings.Split(strings.TrimSpace(string(b)), "\n")
			t.Logf("last of %s:\n%s", name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
}

func condition(ctx context.Context, t *testing.T, kind, want string) {
	t.Helper()
	must(t, harness.Until(ctx, kind+" to be "+want, late, func(ctx context.Context) error {
		status, reason, message, err := lab.Condition(ctx, kind)
		if err == nil && status != want {
			err = fmt.Errorf("it is %s: %s: %s", status, reason, message)
		}
		return err
	}))
}

// seenHealthy waits until the operator sees the node's member, by its agent's word.
func seenHealthy(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	must(t, harness.Until(ctx, "the operator to see the member of "+node, late, func(ctx context.Context) error {
		v, err := lab.EtcdCluster(ctx)
		if err != nil {
			return err
		}
		for _, m := range v.Status.Members {
			if m.Node != node {
				continue
			}
			if m.Health != v1alpha1.HealthHealthy {
				return fmt.Errorf("it is %s: %s", m.Health, m.Message)
			}
			return nil
		}
		return fmt.Errorf("%d members, and none is its own", len(v.Status.Members))
	}))
}

// membersAre waits until exactly these are voters.
func membersAre(ctx context.Context, t *testing.T, names ...string) {
	t.Helper()
	must(t, harness.Until(ctx, fmt.Sprintf("the voters to be %v", names), late, func(ctx context.Context) error {
		ms, _, err := lab.Members(ctx, "cp-1")
		if err != nil {
			return err
		}
		var have []string
		for _, m := range ms {
			if m.IsLearner {
				return fmt.Errorf("%s is a learner", m.Name)
			}
			have = append(have, m.Name)
		}
		slices.Sort(have)
		if !slices.Equal(have, names) {
			return fmt.Errorf("they are %v", have)
		}
		return nil
	}))
}

// Story 8: with the operator, what is lost comes back with no person involved, and what only stands still stays (I6, I23,
// P2, P20); no acknowledged write is lost on the way.
func Test8Operator(t *testing.T) {
	ctx, story := testContext(t, 40*time.Minute), t
	first := operated(ctx, t)
	w := writer(ctx, t, "operator")
	must(t, w.UntilAcked(ctx, 20, soon))

	t.Run("adopting restarts nothing", func(t *testing.T) {
		ids := containerIDs(t, "etcd")
		condition(ctx, t, "Progressing", "False")
		if now := containerIDs(t, "etcd"); now != ids {
			t.Fatalf("etcd was restarted: %s, was %s", now, ids)
		}
	})
	t.Run("a larger quota is rolled out, one node after the other", func(t *testing.T) {
		before := containerIDs(t, "etcd")
		patch(ctx, t, `{"spec":{"quota":"3Gi"}}`)
		rolledOut(ctx, t)
		for _, n := range nodes {
			res, err := lab.On(ctx, n, "cat", "/etc/kubernetes/manifests/etcd.yaml")
			must(t, err)
			if !strings.Contains(res.Out, fmt.Sprintf("--quota-backend-bytes=%d", 3<<30)) {
				t.Errorf("%s: no such quota in\n%s", n, res.Out)
			}
		}
		if now := containerIDs(t, "etcd"); now == before {
			t.Error("no etcd was restarted")
		}
		whole(ctx, t)
	})
	t.Run("ceo redeploy", func(t *testing.T) {
		onlyInFull(t, "two minutes, the same way as above")
		before := containerIDs(t, "etcd")
		res, err := lab.Ceo(ctx, "cp-1", "redeploy", "--reason", "a story", "--wait")
		if err != nil {
			t.Fatalf("%v\n%s", err, res.Out)
		}
		if now := containerIDs(t, "etcd"); now == before {
			t.Error("no etcd was restarted")
		}
		whole(ctx, t)
	})
	t.Run("an image that is nowhere changes nothing", func(t *testing.T) {
		before := containerIDs(t, "etcd")
		patch(ctx, t, `{"spec":{"etcd":{"version":"3.7.3","image":"registry.k8s.io/etcd:3.7.3-9"}}}`)
		must(t, harness.Until(ctx, "the missing image to be said", soon, func(ctx context.Context) error {
			status, reason, message, err := lab.Condition(ctx, "Degraded")
			if err == nil && (status != "True" || reason != "ImageMissing") {
				err = fmt.Errorf("it is %s: %s: %s", status, reason, message)
			}
			return err
		}))
		if now := containerIDs(t, "etcd"); now != before {
			t.Errorf("etcd was restarted: %s, was %s", now, before)
		}
		patch(ctx, t, `{"spec":{"etcd":null}}`)
		condition(ctx, t, "Degraded", "False")
	})
	t.Run("a disk is wiped", func(t *testing.T) {
		ms, _, err := lab.Members(ctx, "cp-1")
		must(t, err)
		before := memberID(ms, "cp-3")
		_, err = lab.Lab(ctx, "wipe", "cp-3")
		must(t, err)
		must(t, killEtcd(ctx, "cp-3"))
		must(t, harness.Until(ctx, "another member on cp-3", late, func(ctx context.Context) error {
			ms, _, err := lab.Members(ctx, "cp-1")
			if err == nil && (memberID(ms, "cp-3") == before || memberID(ms, "cp-3") == 0) {
				err = fmt.Errorf("still %x", before)
			}
			return err
		}))
		membersAre(ctx, t, "cp-1", "cp-2", "cp-3")
		whole(ctx, t)
	})
	t.Run("a member stands still, and the operator is killed", func(t *testing.T) {
		pid := etcdPID(ctx, t, "cp-3")
		_, err := lab.On(ctx, "cp-3", "kill", "-STOP", pid)
		must(t, err)
		t.Cleanup(func() { _, _ = lab.On(context.WithoutCancel(ctx), "cp-3", "kill", "-CONT", pid) })
		must(t, first.Stop())
		operator(ctx, story, "operator-2", "cp-2")
		condition(ctx, t, "QuorumSafe", "Unknown")
		began := time.Now()
		// Longer than a member whose node is gone may stay: its node is there.
		must(t, harness.Until(ctx, "the time-out to pass", late, func(ctx context.Context) error {
			ms, _, err := lab.Members(ctx, "cp-1")
			if err != nil {
				return err
			}
			if len(ms) != 3 {
				t.Fatalf("a member that only stands still was removed: %v", ms)
			}
			if left := timeout + 15*time.Second - time.Since(began); left > 0 {
				return fmt.Errorf("%s left", left)
			}
			return nil
		}))
		_, err = lab.On(ctx, "cp-3", "kill", "-CONT", pid)
		must(t, err)
		whole(ctx, t)
		condition(ctx, t, "QuorumSafe", "True")
	})
	t.Run("a machine is lost for good, and another one takes its name", func(t *testing.T) {
		onlyInFull(t, "three minutes; a lost disk is the same decision")
		_, err := lab.Lab(ctx, "kill", "cp-3")
		must(t, err)
		kubectl(ctx, t, "delete", "node", "cp-3", "--ignore-not-found", "--timeout=60s")
		membersAre(ctx, t, "cp-1", "cp-2")
		_, err = lab.Lab(ctx, "remove", "cp-3")
		must(t, err)
		_, err = lab.Lab(ctx, "add", "3")
		must(t, err)
		must(t, lab.Load(ctx, "", 3))
		_, err = lab.Ceo(ctx, "cp-3", "node", "install", "--image", harness.Image(""))
		must(t, err)
		membersAre(ctx, t, "cp-1", "cp-2", "cp-3")
		whole(ctx, t)
		condition(ctx, t, "QuorumSafe", "True")
	})

	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes, none lost, longest pause %s", len(acks), longestPause(acks))
}

func patch(ctx context.Context, t *testing.T, merge string) {
	t.Helper()
	kubectl(ctx, t, "patch", "etcdcluster", "cluster", "--type", "merge", "-p", merge)
}

// rolledOut waits until the specification as it is now is on every node.
func rolledOut(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, harness.Until(ctx, "the roll-out to be complete", late, func(ctx context.Context) error {
		res, err := lab.Kubectl(ctx, "get", "etcdcluster", "cluster", "--request-timeout=5s",
			"-o", "jsonpath={.metadata.generation} {.status.observedGeneration} {.status.rollout.state} {.status.rollout.message}")
		if err != nil {
			return err
		}
		f := strings.Fields(res.Out)
		if len(f) < 3 || f[0] != f[1] || f[2] != "Complete" {
			return fmt.Errorf("it is %q", res.Out)
		}
		return nil
	}))
}

func memberID(ms []harness.Member, name string) uint64 {
	for _, m := range ms {
		if m.Name == name {
			return m.ID
		}
	}
	return 0
}

// etcdPID is the process of a node's etcd, as the node numbers it.
func etcdPID(ctx context.Context, t *testing.T, node string) string {
	t.Helper()
	res, err := lab.On(ctx, node, "pgrep", "-x", "etcd")
	must(t, err)
	return strings.TrimSpace(res.Out)
}

// killEtcd kills a node's etcd, not its guard.
func killEtcd(ctx context.Context, node string) error {
	_, err := lab.On(ctx, node, "pkill", "-KILL", "-x", "etcd")
	return err
}
