//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// Story 16: the operator's wall clock is wrong by hours and years, in the middle of what it does. Nothing is removed for it,
// never two members are down, and everything is completed once the clock is right (I6, I23).
func Test16Clock(t *testing.T) {
	onlyInFull(t, "six minutes, and a build of its own")
	ctx, story := testContext(t, 25*time.Minute), t
	const name = "operator-2"
	must(t, operated(ctx, t).Stop())
	o, err := lab.StartOperatorWithClock(ctx, name, "cp-1")
	must(t, err)
	endsWith(story, o, name)
	wrongBy := func(d time.Duration) { must(story, lab.MoveClock(name, d)) }
	patch(ctx, t, `{"spec":{"unhealthyTimeout":"2m"}}`)
	r := recorded(ctx, t, "clock", nodes...)
	want := members(ctx, t)
	node := nodeObject(ctx, t, "cp-3")

	t.Run("in the middle of a roll-out", func(t *testing.T) {
		look := watched(ctx, t)
		before := containerIDs(t, "etcd")
		redeploy(ctx, t)
		underWay(ctx, t, before)
		wrongBy(36 * time.Hour)
		passes(ctx, t, 20*time.Second, func() error { return nil })
		// Every certificate is still to become valid: it can reach nobody, and may lose its lead.
		wrongBy(-5 * 365 * 24 * time.Hour)
		passes(ctx, t, 40*time.Second, func() error { return nil })
		wrongBy(0)
		rolledOut(ctx, t)
		look()
		allRestarted(t, before)
	})
	t.Run("a machine without power whose Node is gone", func(t *testing.T) {
		condition(ctx, t, "QuorumSafe", "True")
		_, err := lab.Lab(ctx, "kill", "cp-3")
		must(t, err)
		kubectl(ctx, t, "delete", "node", "cp-3", "--ignore-not-found", "--timeout=30s")
		// The operator looks twice before the jump. An hour is thirty times what a member is given, and counts as 30 s: with
		// what passes here, it is not over.
		passes(ctx, t, 10*time.Second, func() error { return nil })
		wrongBy(time.Hour)
		passes(ctx, t, 20*time.Second, func() error { return sameMembers(ctx, want) })
		kubectl(ctx, t, "apply", "-f", node)
		wrongBy(0)
		_, err = lab.Lab(ctx, "boot", "cp-3")
		must(t, err)
		whole(ctx, t)
		must(t, harness.Until(ctx, "the members to be listed", soon, func(ctx context.Context) error {
			have := listed(ctx)
			if !slices.Equal(have, want) {
				t.Fatalf("the members are %x, and were %x", have, want)
			}
			return nil
		}))
	})
	linearizable(ctx, t, r) // as long as each member is there to be read
	t.Run("a machine that is gone is given up by a clock that is and stays wrong", func(t *testing.T) {
		wrongBy(6 * time.Hour) // ahead: behind, no certificate would be valid, and nobody can be asked
		_, err := lab.Lab(ctx, "kill", "cp-3")
		must(t, err)
		kubectl(ctx, t, "delete", "node", "cp-3", "--ignore-not-found", "--timeout=30s")
		must(t, harness.Until(ctx, "the member of cp-3 to be removed", late, func(ctx context.Context) error {
			if len(listed(ctx)) != 2 {
				return errors.New("it is there")
			}
			return nil
		}))
		// Its kubelet asks its own API server alone, which has no etcd now: it is a machine to be joined anew.
		_, err = lab.Lab(ctx, "remove", "cp-3")
		must(t, err)
		added(ctx, t, 3)
		whole(ctx, t)
	})
}

// nodeObject writes a Node down as it can be made again, and is the file's path.
func nodeObject(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	res := kubectl(ctx, t, "get", "node", name, "-o", "json")
	var n struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       any            `json:"spec"`
	}
	must(t, json.Unmarshal([]byte(res.Out), &n))
	for _, k := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
		delete(n.Metadata, k)
	}
	b, err := json.Marshal(n)
	must(t, err)
	file := filepath.Join(lab.Scratch, "node-"+name+".json")
	must(t, os.WriteFile(file, b, 0o600))
	return file
}
