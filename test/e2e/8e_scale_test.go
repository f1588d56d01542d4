//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// Story 13: a cluster of one node grows to three and to five, and goes back to three, under a writer through the API and
// clients straight on the members: no acknowledged write is lost, every history is linearizable, and a member that leaves
// while it leads hands over (I6, I7, I8, I9). kubeadm joins its nodes itself, so the learners here are kubeadm's; that the
// operator adds them is story 8's and 9's. What a write waits for is `make bench-scale`'s; it is only told here.
func Test13Scale(t *testing.T) {
	onlyInFull(t, "a quarter of an hour: a lab of its own, and four joins")
	ctx := testContext(t, 60*time.Minute)
	one(ctx, t)
	operatedOn(ctx, t, 1)
	w := writer(ctx, t, "scale")
	must(t, w.UntilAcked(ctx, 20, soon))
	clientsOfOne := recorded(ctx, t, "scale-1", "cp-1")
	all := []string{"cp-1", "cp-2", "cp-3", "cp-4", "cp-5"}

	step(t, "1 to 3", func(t *testing.T) {
		added(ctx, t, 2, "--accept-risk=downtime") // nobody can be missed of two
		added(ctx, t, 3)
		membersAre(ctx, t, all[:3]...)
		condition(ctx, t, "QuorumSafe", "True")
	})
	clientsOfThree := recorded(ctx, t, "scale-3", all[:3]...)
	step(t, "3 to 5", func(t *testing.T) {
		added(ctx, t, 4)
		added(ctx, t, 5)
		membersAre(ctx, t, all...)
		condition(ctx, t, "QuorumSafe", "True")
		linearizable(ctx, t, recorded(ctx, t, "scale-5", all...))
	})
	step(t, "5 to 3, and one that leaves leads", func(t *testing.T) {
		lead(ctx, t, all, "cp-5")
		kubectl(ctx, t, "label", "node", "cp-4", "cp-5", "node-role.kubernetes.io/control-plane-")
		membersAre(ctx, t, all[:3]...)
		for _, n := range all[3:] {
			_, err := lab.Lab(ctx, "remove", n)
			must(t, err)
		}
		whole(ctx, t)
		condition(ctx, t, "QuorumSafe", "True")
	})
	linearizable(ctx, t, clientsOfThree)
	linearizable(ctx, t, clientsOfOne)
	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes through the API, none lost, longest pause %s", len(acks), longestPause(acks))
}

// step is a part without which the next ones cannot be.
func step(t *testing.T, name string, do func(*testing.T)) {
	t.Helper()
	if !t.Run(name, do) {
		t.FailNow()
	}
}

// one makes the lab one of one node, and sees to it that whatever comes after this story has three again.
func one(ctx context.Context, t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return // it ended with three
		}
		ctx, cancel := context.WithTimeout(context.Background(), 4*late)
		defer cancel()
		if err := lab.Down(ctx); err != nil {
			t.Error(err)
		}
		if err := lab.Up(ctx, 3); err != nil {
			t.Error(err)
		}
	})
	res := kubectl(ctx, t, "get", "nodes", "-o", "name")
	if len(strings.Fields(res.Out)) == 1 {
		return // as CEO_E2E_NODES=1 asked for
	}
	must(t, lab.Down(ctx))
	must(t, lab.Up(ctx, 1))
}

// added has a further machine join by kubeadm, and puts ceo on it.
func added(ctx context.Context, t *testing.T, n int, flags ...string) {
	t.Helper()
	name, began := fmt.Sprintf("cp-%d", n), time.Now()
	_, err := lab.Lab(ctx, "add", fmt.Sprint(n))
	must(t, err)
	must(t, lab.Load(ctx, "", n))
	_, err = lab.Ceo(ctx, name, append([]string{"node", "install", "--image", harness.Image("")}, flags...)...)
	must(t, err)
	seenHealthy(ctx, t, name)
	t.Logf("%s joined, and is seen healthy, after %s", name, time.Since(began).Round(time.Second))
}

// lead hands the leadership to a node's member. Only the leader does that, so each is asked.
func lead(ctx context.Context, t *testing.T, all []string, node string) {
	t.Helper()
	must(t, harness.Until(ctx, node+" to lead", soon, func(ctx context.Context) error {
		ms, _, err := lab.Members(ctx, "cp-1")
		if err != nil {
			return err
		}
		to := fmt.Sprintf("%x", memberID(ms, node))
		for _, n := range all {
			res, err := lab.Etcdctl(ctx, n, "move-leader", to)
			if err == nil || strings.Contains(res.Err, "already the leader") {
				return nil
			}
		}
		return fmt.Errorf("no member hands the leadership to %s", to)
	}))
}
