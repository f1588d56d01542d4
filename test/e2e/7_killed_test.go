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

// points at which the coordinator's agent dies as by kill -9: in each step that changes data or what runs, after it was
// done and before that was recorded; in the full run in every step, and at its begin and once it was recorded too.
func points() []string {
	if !full() {
		return []string{"stage.do", "archive.do", "activate.do", "start.do", "start.noted"}
	}
	var out []string
	for _, s := range []string{"verify", "fence/cp-1", "stage", "archive", "activate", "start", "leases", "control-plane"} {
		out = append(out, s+".begin", s+".do", s+".done")
	}
	return append(out, "start.noted")
}

var joinPoints = []string{"join/cp-2.begin", "join/cp-2.promote", "join/cp-2.do", "join/cp-2.done", "join/cp-3.begin", "join/cp-3.promote", "join/cp-3.do", "join/cp-3.done", "done.begin", "done.do"}

func arm(ctx context.Context, t *testing.T, point string) {
	t.Helper()
	_, err := lab.On(ctx, "cp-1", "sh", "-c", "mkdir -p /run/ceo/failpoints && touch /run/ceo/failpoints/"+strings.ReplaceAll(point, "/", "_"))
	must(t, err)
}

// quickRestarts lets the kubelet of cp-1 start a container that died again
// within a second: after so many deaths in a row its back-off would be most of
// the test's time. The kubelet is restarted for it now and at the end, never in
// between: one that starts while its API server hangs on a dead etcd asks that
// for its volumes first, and starts no pod for a minute or more.
func quickRestarts(ctx context.Context, t *testing.T) {
	t.Helper()
	const config = "/var/lib/kubelet/config.yaml"
	_, err := lab.On(ctx, "cp-1", "sh", "-ec", "cp "+config+" "+config+".before; sed -i '/^crashLoopBackOff:/,/^[^ ]/{/^crashLoopBackOff:/d;/^ /d}' "+config+
		"; printf 'crashLoopBackOff:\n  maxContainerRestartPeriod: 1s\n' >> "+config+"; systemctl restart kubelet")
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), soon)
		defer cancel()
		if _, err := lab.On(ctx, "cp-1", "sh", "-ec", "mv "+config+".before "+config+"; systemctl restart kubelet"); err != nil {
			t.Errorf("the kubelet's configuration is not put back: %v", err)
		}
	})
}

// fired: the agent removes the file of the point at which it dies.
func fired(ctx context.Context, t *testing.T, point string) {
	t.Helper()
	if _, err := lab.On(ctx, "cp-1", "test", "!", "-e", "/run/ceo/failpoints/"+strings.ReplaceAll(point, "/", "_")); err != nil {
		t.Fatalf("the agent was never at %s", point)
	}
}

// Story 7, I20: whenever the agent is killed, the recovery ends in the same
// state. Each round destroys the data and recovers from the same backup; the
// last one brings the dark nodes in, with the agent killed in each join.
func Test7AgentKilledAtEachStep(t *testing.T) {
	ctx := testContext(t, 40*time.Minute)
	whole(ctx, t)
	must(t, lab.Load(ctx, "failpoints", 3))
	must(t, lab.Install(ctx, "failpoints", 3))
	whole(ctx, t)
	quickRestarts(ctx, t)
	whole(ctx, t)
	acks, b := disaster(ctx, t, "r7")
	for i, p := range points() {
		t.Run(p, func(t *testing.T) {
			if i > 0 {
				// One member is up from the round before, and its recovery is open for
				// the dark nodes: the next one takes its place.
				must(t, lab.Destroy(ctx, "cp-1"))
			}
			archived, err := lab.Archived(ctx, "cp-1")
			must(t, err)
			arm(ctx, t, p)
			res, err := recoverThrough(ctx, t)
			if err != nil {
				t.Fatalf("%v\n%s%s", err, res.Out, res.Err)
			}
			fired(ctx, t, p)
			recovered(ctx, t, acks, b)
			ms, _, err := lab.Members(ctx, "cp-1")
			must(t, err)
			if len(ms) != 1 || ms[0].Name != "cp-1" {
				t.Fatalf("members: %+v", ms)
			}
			now, err := lab.Archived(ctx, "cp-1")
			must(t, err)
			if len(now) < len(archived) {
				t.Fatalf("I1: %v are set aside, there were %v", now, archived)
			}
		})
		if t.Failed() {
			return
		}
	}
	_, err := lab.Lab(ctx, "wipe", "2", "--disk")
	must(t, err)
	for _, p := range joinPoints {
		arm(ctx, t, p)
	}
	t.Run("join", func(t *testing.T) {
		_, err := lab.Lab(ctx, "boot", "2", "3")
		must(t, err)
		how, err := lab.Ended(ctx, "cp-1", 8*time.Minute)
		must(t, err)
		if how != "done" {
			t.Fatalf("ended as %q", how)
		}
		for _, p := range joinPoints {
			fired(ctx, t, p)
		}
		whole(ctx, t)
		recovered(ctx, t, acks, b)
	})
	t.Run("I20: the node itself loses power", func(t *testing.T) { nodeLosesPower(ctx, t) })
	t.Run("aborted before the point of no return, all is as it was", func(t *testing.T) { aborted(ctx, t) })
	must(t, lab.Load(ctx, "", 3))
	must(t, lab.Install(ctx, "", 3))
	whole(ctx, t)
}

// nodeLosesPower takes the power from the recovery node once the restored data
// is in place. Booted, its agent goes on by itself.
func nodeLosesPower(ctx context.Context, t *testing.T) {
	t.Helper()
	acks, b := disaster(ctx, t, "r8")
	cmd, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = lab.Recover(cmd, "cp-1", append(harness.Consent("unreachable-quorum", "rollback"), "--from", snapshotPath)...)
	}()
	must(t, harness.Until(ctx, "the restored data to be in place", soon, func(ctx context.Context) error {
		es, err := lab.Journal(ctx, "cp-1")
		if err != nil {
			return err
		}
		if _, ok := harness.DoneAt(es, "activate"); !ok || es[len(es)-1].Kind == "end" {
			return fmt.Errorf("not yet: %+v", es[len(es)-1])
		}
		return nil
	}))
	_, err := lab.Lab(ctx, "kill", "1")
	must(t, err)
	cancel()
	<-ended
	_, err = lab.Lab(ctx, "boot", "1")
	must(t, err)
	must(t, harness.Until(ctx, "the recovery to go on by itself", late, func(ctx context.Context) error {
		es, err := lab.Journal(ctx, "cp-1")
		if err != nil {
			return err
		}
		if _, ok := harness.DoneAt(es, "control-plane"); !ok {
			return fmt.Errorf("last: %+v", es[len(es)-1])
		}
		return nil
	}))
	recovered(ctx, t, acks, b)
	joined(ctx, t)
	recovered(ctx, t, acks, b)
}

// aborted: a step before the point of no return cannot be done (what it needs
// was taken away under it while the agent was dead); the person goes back.
func aborted(ctx context.Context, t *testing.T) {
	t.Helper()
	acks := wrote(ctx, t, "r9-a", 30)
	_, _ = lab.On(ctx, "cp-1", "rm", "-f", snapshotPath)
	_, err := lab.Save(ctx, "cp-1", snapshotPath)
	must(t, err)
	acks = append(acks, wrote(ctx, t, "r9-b", 30)...)
	_, oldID, err := lab.Members(ctx, "cp-1")
	must(t, err)
	// Without a kubelet the agent that dies stays dead until the test is ready.
	_, err = lab.Lab(ctx, "kubelet", "1", "stop")
	must(t, err)
	arm(ctx, t, "activate.begin")
	cmd, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = lab.Recover(cmd, "cp-1", append(harness.Consent("rollback"), "--from", snapshotPath)...)
	}()
	must(t, harness.Until(ctx, "the agent to die", soon, func(ctx context.Context) error {
		_, err := lab.On(ctx, "cp-1", "test", "!", "-e", "/run/ceo/failpoints/activate.begin")
		return err
	}))
	cancel()
	<-ended
	_, err = lab.On(ctx, "cp-1", "sh", "-c", "for f in /var/lib/etcd/.ceo/staging/*/staged.json; do mv $f $f.away; done")
	must(t, err)
	_, err = lab.Lab(ctx, "kubelet", "1", "start")
	must(t, err)
	must(t, harness.Until(ctx, "the step to fail", late, func(ctx context.Context) error {
		es, err := lab.Journal(ctx, "cp-1")
		if err != nil {
			return err
		}
		if last := es[len(es)-1]; last.Kind != "failed" {
			return fmt.Errorf("last: %+v", last)
		}
		return nil
	}))
	res, err := lab.Ceo(ctx, "cp-1", "status")
	if err == nil || !strings.Contains(res.Out, "--abort") {
		t.Errorf("status does not name the way back: %v\n%s", err, res.Out)
	}
	_, err = lab.Ceo(ctx, "cp-1", "recover", "--abort")
	must(t, err)
	how, err := lab.Ended(ctx, "cp-1", late)
	must(t, err)
	if how != "aborted" {
		t.Fatalf("ended as %q", how)
	}
	whole(ctx, t)
	_, id, err := lab.Members(ctx, "cp-1")
	must(t, err)
	if id != oldID {
		t.Fatalf("cluster %x serves, it was %x", id, oldID)
	}
	have, err := lab.Objects(ctx)
	must(t, err)
	must(t, harness.Compare(acks, have, acks[len(acks)-1].ResourceVersion))
}

// recoverThrough runs `ceo recover`, which goes on watching when the agent
// comes back; it is killed too if it has not noticed anything.
func recoverThrough(ctx context.Context, t *testing.T) (harness.Result, error) {
	t.Helper()
	res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("unreachable-quorum", "rollback"), "--from", snapshotPath)...)
	if err == nil {
		return res, nil
	}
	// The command itself may have lost its agent before it knew the recovery's
	// id; the journal says how it went on.
	var bad *harness.CmdError
	if !errors.As(err, &bad) {
		return res, err
	}
	werr := harness.Until(ctx, "the recovery to go on by itself", late, func(ctx context.Context) error {
		es, jerr := lab.Journal(ctx, "cp-1")
		if jerr != nil {
			return jerr
		}
		if _, ok := harness.DoneAt(es, "control-plane"); !ok {
			return fmt.Errorf("%d lines in the journal, last: %+v", len(es), es[len(es)-1])
		}
		return nil
	})
	return res, werr
}
