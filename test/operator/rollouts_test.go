//go:build integration

package operator_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/cli"
	"clusteretcd.io/ceo/internal/etcdtest"
)

func (w *world) patchSpec(t *testing.T, spec string) {
	t.Helper()
	c := w.cluster(t)
	must(t, w.client.Patch(etcdtest.Context(t), &c, client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+spec+`}`))))
}

func (w *world) waitRollout(t *testing.T, state v1alpha1.RolloutState, number int64) v1alpha1.EtcdCluster {
	t.Helper()
	var c v1alpha1.EtcdCluster
	etcdtest.Eventually(t, "roll-out "+string(state), func() (bool, string) {
		c = w.cluster(t)
		r := c.Status.Rollout
		raw, err := json.Marshal(r)
		must(t, err)
		return r != nil && r.State == state && r.Revision >= number && c.Status.ObservedGeneration == c.Generation, string(raw) + " " + c.Status.Summary
	})
	return c
}

// redeploy is the verb, over a kubeconfig.
func (w *world) redeploy(t *testing.T, reason string) (cli.Redeployed, int) {
	t.Helper()
	var out, said bytes.Buffer
	err := cli.Redeploy(t.Context(), cli.Streams{Out: &out, Err: &said, Name: "ceo"}, cli.RedeployOptions{
		Kubeconfig: w.kubeconfig(t), Reason: reason, Wait: true, Timeout: 2 * time.Minute, Format: cli.JSON,
	})
	t.Logf("redeploy %q: %v\n%s", reason, err, said.String())
	var r cli.Redeployed
	must(t, json.Unmarshal(out.Bytes(), &r))
	return r, cli.CodeOf(err)
}

// TestRollouts: one at a time, the leader last, with real etcds behind agents that keep their revisions with the real code
// (I6, P22). An adopted cluster is restarted for nothing.
func TestRollouts(t *testing.T) {
	if !alone(t) {
		return
	}
	whole := t
	w := newWorld(t)
	nodes, stopKubelets := w.newRolling3(t)
	defer stopKubelets()
	stop := w.start(t)
	w.newCluster(t)
	w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	w.waitRollout(t, v1alpha1.RolloutComplete, 1)
	waitLooks(t, nodes, 5)
	for _, r := range nodes {
		if r.restartCount() != 0 {
			t.Fatalf("the adoption restarted %s: %v", r.name, r.restarts)
		}
	}

	t.Run("forced by ceo redeploy", func(t *testing.T) {
		r, code := w.redeploy(t, "new kernel")
		if code != cli.ExitOK || !r.Over || !r.Changed || r.Rollout == nil || r.Rollout.Updated != "3/3" || r.Rollout.CompletionTime == nil {
			t.Errorf("exit %d, %+v %+v", code, r, r.Rollout)
		}
		once(t, nodes, 1)
	})
	t.Run("the operator is killed half-way (I20)", func(t *testing.T) {
		w.patchSpec(t, `{"quota":"4Gi"}`)
		waitRestarts(t, nodes, 4)
		stop()
		stop = w.start(whole)
		w.waitRollout(t, v1alpha1.RolloutComplete, 3)
		once(t, nodes, 2)
	})
	t.Run("an agent that stops answering (I23)", func(t *testing.T) {
		nodes[2].set(func() { nodes[2].hang = true })
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonAgentUnreachable)
		w.patchSpec(t, `{"forceRedeploymentReason":"while one is silent"}`)
		waitLooks(t, nodes[:2], 12)
		once(t, nodes, 2)
		nodes[2].set(func() { nodes[2].hang = false })
		w.waitRollout(t, v1alpha1.RolloutComplete, 4)
		once(t, nodes, 3)
	})
	t.Run("a revision that does not come up is put back", func(t *testing.T) {
		r, code := w.redeploy(t, "broken")
		if code != cli.ExitNotHealthy || r.Over || r.Rollout == nil || r.Rollout.State != v1alpha1.RolloutStopped {
			t.Errorf("exit %d, %+v", code, r.Rollout)
		}
		c := w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonRolloutStopped)
		w.waitCondition(t, v1alpha1.ConditionUpgradeable, metav1.ConditionFalse, v1alpha1.ReasonRolloutStopped)
		if !strings.Contains(c.Status.Summary, "stopped") {
			t.Errorf("the summary: %s", c.Status.Summary)
		}
		touched := 0
		for _, r := range nodes {
			switch n := r.restartCount(); n {
			case 3:
			case 5:
				touched++
				if r.restarts[4] != r.restarts[2] {
					t.Errorf("%s went back to %s, not to %s", r.name, r.restarts[4], r.restarts[2])
				}
			default:
				t.Errorf("%s was restarted %d times", r.name, n)
			}
		}
		if touched != 1 {
			t.Errorf("%d nodes were given the broken revision", touched)
		}
		w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	})
	t.Run("a new one goes on", func(t *testing.T) {
		r, code := w.redeploy(t, "mended")
		if code != cli.ExitOK || !r.Over {
			t.Errorf("exit %d, %+v", code, r.Rollout)
		}
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
		w.waitCondition(t, v1alpha1.ConditionUpgradeable, metav1.ConditionTrue, v1alpha1.ReasonAsExpected)
	})
	t.Run("an image that is missing", func(t *testing.T) {
		before := nodes[0].restartCount() + nodes[1].restartCount() + nodes[2].restartCount()
		w.patchSpec(t, `{"etcd":{"version":"`+etcdtest.Version+`","image":"registry.k8s.io/missing:`+etcdtest.Version+`-0"}}`)
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonImageMissing)
		waitLooks(t, nodes, 5)
		w.patchSpec(t, `{"etcd":{"version":null,"image":null}}`)
		w.waitCondition(t, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
		if after := nodes[0].restartCount() + nodes[1].restartCount() + nodes[2].restartCount(); after != before {
			t.Errorf("%d restarts for an image that is missing", after-before)
		}
	})
	noneWrong(t, nodes)
	w.noWriteAtRest(t, []*double{nodes[0].double})
}

func waitLooks(t *testing.T, nodes []*rolling, n int) {
	t.Helper()
	from := nodes[0].lookCount()
	etcdtest.Eventually(t, "the operator to look again", func() (bool, string) { return nodes[0].lookCount() >= from+n, "" })
}

// once: every node was restarted exactly so often.
func once(t *testing.T, nodes []*rolling, times int) {
	t.Helper()
	for _, r := range nodes {
		if n := r.restartCount(); n != times {
			t.Errorf("%s was restarted %d times, not %d", r.name, n, times)
		}
	}
	noneWrong(t, nodes)
}
