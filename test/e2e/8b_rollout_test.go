//go:build e2e

package e2e

import (
	"context"
	"errors"
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

// recorded runs clients straight on every member until the test ends, and then judges what they were told: no stale read,
// no acknowledged write lost (I9).
func recorded(ctx context.Context, t *testing.T, run string, members ...string) *harness.Load {
	t.Helper()
	r, err := lab.RecordHistory(ctx, run, members...)
	must(t, err)
	t.Cleanup(func() { _ = r.Stop() })
	must(t, r.UntilRecorded(ctx, 100, soon))
	return r
}

func linearizable(ctx context.Context, t *testing.T, r *harness.Load) {
	t.Helper()
	must(t, r.UntilRecorded(ctx, 100, soon))
	must(t, r.Stop())
	ops, err := r.History(true)
	must(t, err)
	v := harness.Check(ops, soon)
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations, %d of unknown outcome, linearizable; longest pause of acknowledged writes %s",
		len(ops), v.Unknown, harness.LongestPause(ops).Round(time.Millisecond))
}

// watched looks on until the returned function is called: the members stay who they are (I23), and no two nodes are without
// their etcd at the same time (I6).
func watched(ctx context.Context, t *testing.T) func() {
	t.Helper()
	want := members(ctx, t)
	ctx, cancel := context.WithCancel(ctx)
	seen := make(chan error, 1)
	go func() {
		var bad error
		for ctx.Err() == nil && bad == nil {
			bad = errors.Join(sameMembers(ctx, want), oneAtATime(ctx))
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
		seen <- bad
	}()
	return func() {
		t.Helper()
		cancel()
		must(t, <-seen)
	}
}

func members(ctx context.Context, t *testing.T) []uint64 {
	t.Helper()
	ms, _, err := lab.Members(ctx, "cp-1")
	must(t, err)
	return ids(ms)
}

func ids(ms []harness.Member) []uint64 {
	var out []uint64
	for _, m := range ms {
		out = append(out, m.ID)
	}
	slices.Sort(out)
	return out
}

func sameMembers(ctx context.Context, want []uint64) error {
	if have := listed(ctx); have != nil && !slices.Equal(have, want) {
		return fmt.Errorf("the members are %x, and were %x", have, want)
	}
	return nil
}

// listed are the members by the word of the first that answers: one that is being restarted does not.
func listed(ctx context.Context) []uint64 {
	for _, n := range nodes {
		if ms, _, err := lab.Members(ctx, n); err == nil {
			return ids(ms)
		}
	}
	return nil
}

// oneAtATime asks each node without an etcd again after the others: only one that was without it all the time counts.
func oneAtATime(ctx context.Context) error {
	runs := func(n string) bool {
		res, err := lab.On(ctx, n, "pgrep", "-x", "etcd")
		return err == nil || res.Code != 1 // 1: none; anything else says nothing
	}
	var without []string
	for _, n := range nodes {
		if !runs(n) {
			without = append(without, n)
		}
	}
	if len(without) > 1 && !runs(without[0]) && ctx.Err() == nil {
		return fmt.Errorf("%v have no etcd at the same time", without)
	}
	return nil
}

// redeploy asks for every member anew, and returns at once.
func redeploy(ctx context.Context, t *testing.T) {
	t.Helper()
	patch(ctx, t, fmt.Sprintf(`{"spec":{"forceRedeploymentReason":"%s %s"}}`, t.Name(), time.Now().UTC().Format(time.RFC3339Nano)))
}

// restarted says which nodes have another etcd than before.
func restarted(before, now string) []string {
	var out []string
	b, n := strings.Fields(before), strings.Fields(now)
	for i := range b {
		if i < len(n) && b[i] != n[i] {
			out = append(out, nodes[i])
		}
	}
	return out
}

func allRestarted(t *testing.T, before string) {
	t.Helper()
	if r := restarted(before, containerIDs(t, "etcd")); !slices.Equal(r, nodes) {
		t.Errorf("restarted were only %v", r)
	}
}

// Story 10: what is rolled out goes from member to member under the eyes of clients of all of them, whose histories stay
// linearizable (I6, I9); what cannot run stops at the first node, which goes back to what it had.
func Test10Rollout(t *testing.T) {
	onlyInFull(t, "three minutes, and five with the image")
	ctx, story := testContext(t, 30*time.Minute), t
	operated(ctx, t)
	r := recorded(ctx, t, "rollout", nodes...)
	look := watched(ctx, t)

	t.Run("a forced redeployment", func(t *testing.T) {
		before := containerIDs(t, "etcd")
		redeploy(ctx, t)
		rolledOut(ctx, t)
		allRestarted(t, before)
	})
	t.Run("another quota", func(t *testing.T) {
		before := containerIDs(t, "etcd")
		patch(ctx, t, `{"spec":{"quota":"5Gi"}}`)
		rolledOut(ctx, t)
		allRestarted(t, before)
		for _, n := range nodes {
			res, err := lab.On(ctx, n, "cat", "/etc/kubernetes/manifests/etcd.yaml")
			must(t, err)
			if !strings.Contains(res.Out, fmt.Sprintf("--quota-backend-bytes=%d", 5<<30)) {
				t.Errorf("%s: no such quota in\n%s", n, res.Out)
			}
		}
	})
	t.Run("an image whose etcd does not start", func(t *testing.T) {
		// As the chart has it: the API server of a node reads from that node's etcd alone, so an operator whose own node is
		// the first one ends with it, and only another one can roll it back.
		operator(ctx, story, "operator-2", "cp-2")
		brokenImage(ctx, t)
	})
	look()
	whole(ctx, t)
	linearizable(ctx, t, r)
}

// broken is an image that every node has, of a version that may be rolled out, and in which etcd ends at once.
const broken = "registry.k8s.io/etcd:3.7.3-8"

func brokenImage(ctx context.Context, t *testing.T) {
	t.Helper()
	// Any static program that knows none of etcd's flags.
	program, tar := filepath.Join(lab.Scratch, "broken", "etcd"), filepath.Join(lab.Scratch, "broken.tar")
	raw, err := os.ReadFile(filepath.Join(lab.Bin(), "lab"))
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(program), 0o700))
	must(t, os.WriteFile(program, raw, 0o700))
	_, err = lab.Lab(ctx, "image", tar, broken, program)
	must(t, err)
	_, err = lab.Lab(ctx, "load", tar)
	must(t, err)

	before := containerIDs(t, "etcd")
	patch(ctx, t, fmt.Sprintf(`{"spec":{"etcd":{"version":"3.7.3","image":"%s"}}}`, broken))
	var first string
	must(t, harness.Until(ctx, "the roll-out to stop", 2*late, func(ctx context.Context) error {
		v, err := lab.EtcdCluster(ctx)
		if err != nil {
			return err
		}
		s := v.Status.Rollout
		if s == nil || s.State != v1alpha1.RolloutStopped {
			return fmt.Errorf("it is %+v", s)
		}
		first = s.Node
		return nil
	}))
	must(t, harness.Until(ctx, "Degraded with the reason", soon, func(ctx context.Context) error {
		status, reason, message, err := lab.Condition(ctx, "Degraded")
		if err == nil && (status != "True" || reason != v1alpha1.ReasonRolloutStopped || !strings.Contains(message, first)) {
			err = fmt.Errorf("it is %s: %s: %s", status, reason, message)
		}
		if err == nil {
			t.Logf("Degraded: %s: %s", reason, message)
		}
		return err
	}))
	whole(ctx, t)
	if got := restarted(before, containerIDs(t, "etcd")); !slices.Equal(got, []string{first}) {
		t.Errorf("restarted were %v, and the roll-out stopped at %q", got, first)
	}
	for _, n := range nodes {
		res, err := lab.On(ctx, n, "cat", "/etc/kubernetes/manifests/etcd.yaml")
		must(t, err)
		if strings.Contains(res.Out, broken) {
			t.Errorf("%s still has the broken image:\n%s", n, res.Out)
		}
	}
	// A specification that is good heals it.
	before = containerIDs(t, "etcd")
	patch(ctx, t, `{"spec":{"etcd":null}}`)
	redeploy(ctx, t)
	rolledOut(ctx, t)
	allRestarted(t, before)
	condition(ctx, t, "Degraded", "False")
}
