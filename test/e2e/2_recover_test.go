//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

const snapshotPath = "/var/lib/etcd-backup/snapshot.db"

// disaster writes, backs up, writes more, and destroys.
func disaster(ctx context.Context, t *testing.T, run string) ([]harness.Ack, harness.Backup) {
	t.Helper()
	acks := wrote(ctx, t, run+"-a", 100)
	_, _ = lab.On(ctx, "cp-1", "rm", "-f", snapshotPath)
	b, err := lab.Save(ctx, "cp-1", snapshotPath)
	must(t, err)
	acks = append(acks, wrote(ctx, t, run+"-b", 50)...)
	must(t, lab.Destroy(ctx, "cp-1", "cp-2", "cp-3"))
	return acks, b
}

// recovered is what must hold once one member serves: the API answers, what
// was acknowledged before the backup is there, nothing from after it (I10).
func recovered(ctx context.Context, t *testing.T, acks []harness.Ack, b harness.Backup) {
	t.Helper()
	have, err := lab.Objects(ctx)
	must(t, err)
	if err := harness.Compare(acks, have, b.Revision); err != nil {
		t.Fatalf("I10: %v", err)
	}
}

// joined boots the dark nodes, node 3 with its old data and node 2 with an
// empty disk, and waits until the recovery has brought them in by itself.
func joined(ctx context.Context, t *testing.T) {
	t.Helper()
	_, err := lab.Lab(ctx, "wipe", "2", "--disk")
	must(t, err)
	_, err = lab.Lab(ctx, "boot", "3", "2")
	must(t, err)
	how, err := lab.Ended(ctx, "cp-1", late)
	must(t, err)
	if how != "done" {
		t.Fatalf("the recovery ended as %q", how)
	}
	whole(ctx, t)
}

// Stories 2 to 5.
func Test2Recover(t *testing.T) {
	ctx := testContext(t, 20*time.Minute)
	whole(ctx, t)
	before, oldID, err := lab.Members(ctx, "cp-1")
	must(t, err)
	informer, err := lab.Watch(ctx)
	must(t, err)
	t.Cleanup(func() { _ = informer.Stop() })
	kubectl, err := lab.KubectlWatch(ctx)
	must(t, err)
	t.Cleanup(func() { _ = kubectl.Stop() })

	acks, b := disaster(ctx, t, "r2")
	untilSeen := func() {
		t.Helper()
		must(t, harness.Until(ctx, "the informer to show what the API has", soon, func(ctx context.Context) error { return sameAsInformer(ctx, informer) }))
	}

	t.Run("status says what is broken on one screen", func(t *testing.T) {
		must(t, harness.Until(ctx, "status to show the disaster", soon, func(ctx context.Context) error {
			res, err := lab.Ceo(ctx, "cp-1", "status")
			var bad *harness.CmdError
			if err == nil || !errors.As(err, &bad) || res.Code != 2 {
				return fmt.Errorf("exit %d, want 2: %s%s", res.Code, res.Out, res.Err)
			}
			for _, want := range []string{"NO QUORUM", "data lost", "unreachable", "ceo recover --plan"} {
				if !strings.Contains(res.Out, want) {
					return fmt.Errorf("no %q in\n%s", want, res.Out)
				}
			}
			if lines := strings.Count(res.Out, "\n"); lines > 40 {
				return fmt.Errorf("%d lines are no one screen", lines)
			}
			return nil
		}))
	})
	t.Run("the plan changes nothing", func(t *testing.T) {
		res, err := lab.Ceo(ctx, "cp-1", "recover", "--plan")
		if err == nil || res.Code != 2 {
			t.Fatalf("exit %d: %s%s", res.Code, res.Out, res.Err)
		}
		for _, want := range []string{"quorum lost", "POINT OF NO RETURN", "unreachable-quorum", "May lose"} {
			if !strings.Contains(res.Out, want) {
				t.Errorf("no %q in\n%s", want, res.Out)
			}
		}
		if es, err := lab.Journal(ctx, "cp-1"); err == nil {
			t.Fatalf("a journal of %d lines was made", len(es))
		}
	})
	begun := time.Now()
	res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("unreachable-quorum"), "--from", snapshotPath)...)
	must(t, err)
	t.Logf("ceo recover ended after %s:\n%s%s", time.Since(begun).Round(100*time.Millisecond), res.Out, res.Err)
	recovered(ctx, t, acks, b)
	_, newID, err := lab.Members(ctx, "cp-1")
	must(t, err)
	if newID == oldID {
		t.Fatal("P1: the cluster id is the old one")
	}
	t.Run("I15: a new write's revision is beyond any that was served", func(t *testing.T) {
		for _, a := range wrote(ctx, t, "r2-c", 5) {
			if served := acks[len(acks)-1].ResourceVersion; a.ResourceVersion <= served {
				t.Fatalf("revision %d after %d had been served", a.ResourceVersion, served)
			}
		}
	})
	t.Run("P6: no dead API server in the Endpoints", func(t *testing.T) {
		must(t, harness.Until(ctx, "the kubernetes Endpoints", soon, func(ctx context.Context) error {
			res, err := lab.Kubectl(ctx, "get", "endpointslices", "-n", "default", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses}")
			if err == nil && strings.TrimSpace(res.Out) != `["10.78.0.11"]` {
				err = fmt.Errorf("%s", res.Out)
			}
			return err
		}))
	})
	t.Run("I15, P3: an informer from before shows no stale object", func(*testing.T) { untilSeen() })
	t.Run("I15, P3: a kubectl watch from before shows no stale object", func(t *testing.T) {
		have, err := lab.Objects(ctx)
		must(t, err)
		raw, err := os.ReadFile(kubectl.File)
		must(t, err)
		gone := map[string]bool{}
		for _, a := range acks {
			if _, there := have[a.Name]; !there {
				gone[a.Name] = true
			}
		}
		// It saw the objects written before the disaster; none of those that are
		// gone may be shown after the first that was written after it.
		after := false
		for _, line := range strings.Split(string(raw), "\n") {
			after = after || strings.Contains(line, "r2-c-")
			for _, f := range strings.Fields(line) {
				if after && gone[f] {
					t.Fatalf("shown after the recovery: %s", line)
				}
			}
		}
	})

	joined(ctx, t)
	t.Run("I1: the old data of each node is still there", func(t *testing.T) {
		for _, n := range []string{"cp-3"} {
			got, err := lab.Archived(ctx, n)
			must(t, err)
			if len(got) != 1 {
				t.Fatalf("%s has set aside %v", n, got)
			}
		}
	})
	t.Run("P2: the new members are not the old ones", func(t *testing.T) {
		now, _, err := lab.Members(ctx, "cp-1")
		must(t, err)
		for _, m := range now {
			for _, old := range before {
				if m.ID == old.ID {
					t.Errorf("member %x of %s is of the former cluster", m.ID, m.Name)
				}
			}
		}
	})
	t.Run("what was written meanwhile is on every member", func(*testing.T) { untilSeen() })
	recovered(ctx, t, acks, b)
}

func sameAsInformer(ctx context.Context, l *harness.Load) error {
	have, err := lab.Objects(ctx)
	if err != nil {
		return err
	}
	believes, err := l.Believes()
	if err != nil {
		return err
	}
	for name, a := range have {
		if got, ok := believes[name]; !ok || got.ResourceVersion != a.ResourceVersion {
			return fmt.Errorf("the informer does not show %s as the API has it", name)
		}
	}
	for name := range believes {
		if _, ok := have[name]; !ok {
			return fmt.Errorf("the informer shows %s, which is gone", name)
		}
	}
	return nil
}
