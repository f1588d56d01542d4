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

// fingerprint of everything on a node that a refused recovery must not touch.
func fingerprint(ctx context.Context, t *testing.T, node string) string {
	t.Helper()
	res, err := lab.On(ctx, node, "sh", "-c", strings.Join([]string{
		"ls -i /var/lib/etcd/member/snap/db", // the inode: the same file, though it is written to
		"find /var/lib/etcd -maxdepth 1 -not -name .ceo | sort",
		"find /var/lib/etcd/.ceo/archive -mindepth 1 -maxdepth 1 2>/dev/null | sort",
		"sha256sum /etc/kubernetes/manifests/*",
		"ls /var/lib/ceo/stopped 2>/dev/null",
		"ls /var/lib/ceo/journal 2>/dev/null",
		"cat /var/lib/ceo/hold.json 2>/dev/null",
		"pgrep -xo etcd; pgrep -xo kube-apiserver; true",
	}, "; "))
	must(t, err)
	return res.Out
}

// Story 8: bad input is refused with what to do, and nothing is touched.
func Test4Refused(t *testing.T) {
	ctx := testContext(t, 15*time.Minute)
	whole(ctx, t)
	const dir = "/root/bad"
	_, err := lab.On(ctx, "cp-1", "sh", "-c", "rm -rf "+dir+" && mkdir -p "+dir)
	must(t, err)
	good := dir + "/good.db"
	_, err = lab.Save(ctx, "cp-1", good)
	must(t, err)
	for _, c := range []string{
		"head -c 1000000 good.db > cut.db",
		"cp good.db flipped.db && printf '\\377' | dd of=flipped.db bs=1 seek=300000 conv=notrunc status=none && ! cmp -s good.db flipped.db",
		"head -c 500000 /dev/urandom > noise.db",
		"head -c -32 good.db > nohash.db",
		": > empty.db",
	} {
		_, err := lab.On(ctx, "cp-1", "sh", "-c", "cd "+dir+" && "+c)
		must(t, err)
	}
	risks := []string{"rollback"}
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"P13: a truncated snapshot", append(harness.Consent(risks...), "--from", dir+"/cut.db"), 1, []string{"cut.db"}},
		{"P14: a flipped bit", append(harness.Consent(risks...), "--from", dir+"/flipped.db"), 1, []string{"flipped.db"}},
		{"a file that is no snapshot", append(harness.Consent(risks...), "--from", dir+"/noise.db"), 1, []string{"noise.db", "snapshot"}},
		{"an empty file", append(harness.Consent(risks...), "--from", dir+"/empty.db"), 1, []string{"empty.db"}},
		{"no such file", append(harness.Consent(risks...), "--from", dir+"/nowhere.db"), 1, []string{"nowhere.db"}},
		{"a snapshot without a hash", append(harness.Consent(risks...), "--from", dir+"/nohash.db"), 1, []string{"--skip-hash-check"}},
		{"I13: a quorate cluster", append(harness.Consent(), "--from", good), 4, []string{"--accept-risk=rollback"}},
		{"I14: another cluster's name", []string{"--yes", "--confirm-cluster=other", "--accept-risk=rollback", "--from", good}, 4, []string{harness.Name}},
		{"no consent, no terminal", []string{"--from", good}, 4, []string{"--yes", "--confirm-cluster"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := fingerprint(ctx, t, "cp-1")
			res, err := lab.Ceo(ctx, "cp-1", append([]string{"recover"}, c.args...)...)
			if err == nil || res.Code != c.code {
				t.Fatalf("exit %d, want %d\n%s%s", res.Code, c.code, res.Out, res.Err)
			}
			for _, s := range c.says {
				if !strings.Contains(res.Out+res.Err, s) {
					t.Errorf("no %q in\n%s%s", s, res.Out, res.Err)
				}
			}
			if after := fingerprint(ctx, t, "cp-1"); after != before {
				t.Fatalf("something was touched:\n%s\nwas\n%s", after, before)
			}
		})
	}
	t.Run("P27: a disk too full", func(t *testing.T) {
		before := fingerprint(ctx, t, "cp-1")
		_, err := lab.On(ctx, "cp-1", "sh", "-c", `fallocate -l $(($(df --output=avail -B1 /var/lib/etcd | tail -n 1) - 4000000)) /var/lib/etcd/filler`)
		must(t, err)
		t.Cleanup(func() { _, _ = lab.On(context.Background(), "cp-1", "rm", "-f", "/var/lib/etcd/filler") })
		res, err := lab.Ceo(ctx, "cp-1", append([]string{"recover", "--from", good}, harness.Consent(risks...)...)...)
		if err == nil || res.Code != 1 || !strings.Contains(res.Out+res.Err, "free") {
			t.Fatalf("exit %d\n%s%s", res.Code, res.Out, res.Err)
		}
		_, err = lab.On(ctx, "cp-1", "rm", "-f", "/var/lib/etcd/filler")
		must(t, err)
		if after := fingerprint(ctx, t, "cp-1"); after != before {
			t.Fatalf("something was touched:\n%s\nwas\n%s", after, before)
		}
	})
	t.Run("a person without root", func(t *testing.T) {
		res, err := lab.On(ctx, "cp-1", "setpriv", "--reuid=65534", "--clear-groups", "ceo", "status")
		if err == nil || res.Code == 0 {
			t.Fatalf("nobody may look: %s", res.Out)
		}
	})
	whole(ctx, t)
}

// I13, and the second half of story 8: a quorate cluster is taken back with
// the named consent, without a hash with the named flag, and while that runs
// no second recovery begins.
func Test5RollBackAQuorateCluster(t *testing.T) {
	ctx := testContext(t, 15*time.Minute)
	whole(ctx, t)
	acks := wrote(ctx, t, "r5-a", 50)
	_, err := lab.On(ctx, "cp-1", "sh", "-c", "rm -rf /root/roll && mkdir /root/roll")
	must(t, err)
	b, err := lab.Save(ctx, "cp-1", "/root/roll/good.db")
	must(t, err)
	_, err = lab.On(ctx, "cp-1", "sh", "-c", "cd /root/roll && head -c -32 good.db > nohash.db && cp good.db "+snapshotPath)
	must(t, err)
	acks = append(acks, wrote(ctx, t, "r5-b", 30)...)
	type outcome struct {
		res harness.Result
		err error
	}
	first := make(chan outcome, 1)
	go func() {
		res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("rollback"), "--wait", "--skip-hash-check", "--from", "/root/roll/nohash.db")...)
		first <- outcome{res, err}
	}()
	must(t, harness.Until(ctx, "the recovery to have begun", soon, func(ctx context.Context) error {
		es, err := lab.Journal(ctx, "cp-1")
		if err == nil && es[len(es)-1].Kind == "end" {
			err = fmt.Errorf("the newest journal has ended: %s", es[len(es)-1].Text)
		}
		return err
	}))
	for _, n := range []string{"cp-1", "cp-2"} {
		res, err := lab.Ceo(ctx, n, append([]string{"recover", "--from", snapshotPath}, harness.Consent("rollback")...)...)
		if n == "cp-2" {
			res, err = lab.Ceo(ctx, n, "recover", "--plan")
		}
		if err == nil || res.Code != 5 || !strings.Contains(res.Out+res.Err, "recovery") {
			t.Errorf("a second recovery on %s: exit %d\n%s%s", n, res.Code, res.Out, res.Err)
		}
	}
	one := <-first
	must(t, one.err)
	t.Log(one.res.Out + one.res.Err)
	how, err := lab.Ended(ctx, "cp-1", late)
	must(t, err)
	if how != "done" {
		t.Fatalf("ended as %q", how)
	}
	whole(ctx, t)
	recovered(ctx, t, acks, b)
	for _, n := range nodes {
		if got, err := lab.Archived(ctx, n); err != nil || len(got) == 0 {
			t.Errorf("I1: %s has nothing set aside: %v %v", n, got, err)
		}
	}
}

// P11, I4: a majority of the old cluster that ran on, cut off, while the
// recovery happened, is fenced as soon as it can be reached.
func Test6OldMajorityReturns(t *testing.T) {
	ctx := testContext(t, 15*time.Minute)
	whole(ctx, t)
	acks := wrote(ctx, t, "r6-a", 50)
	_, _ = lab.On(ctx, "cp-1", "rm", "-f", snapshotPath)
	b, err := lab.Save(ctx, "cp-1", snapshotPath)
	must(t, err)
	_, err = lab.Lab(ctx, "partition", "2", "3")
	must(t, err)
	_, oldID, err := lab.Members(ctx, "cp-2")
	must(t, err)
	must(t, harness.Until(ctx, "cp-1 to see that it has no quorum", soon, func(ctx context.Context) error {
		res, _ := lab.Ceo(ctx, "cp-1", "status")
		if !strings.Contains(res.Out, "NO QUORUM") {
			return fmt.Errorf("%s", res.Out)
		}
		return nil
	}))
	res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("unreachable-quorum"), "--from", snapshotPath)...)
	must(t, err)
	t.Log(res.Out + res.Err)
	// I3: the two old members still serve their clients, under the old id.
	if _, id, err := lab.Members(ctx, "cp-2"); err != nil || id != oldID {
		t.Fatalf("the cut off majority: cluster %x, %v", id, err)
	}
	_, err = lab.Lab(ctx, "heal")
	must(t, err)
	how, err := lab.Ended(ctx, "cp-1", late)
	must(t, err)
	if how != "done" {
		t.Fatalf("ended as %q", how)
	}
	whole(ctx, t)
	recovered(ctx, t, acks, b)
	for _, n := range []string{"cp-2", "cp-3"} {
		if got, err := lab.Archived(ctx, n); err != nil || len(got) == 0 {
			t.Errorf("I1: %s has nothing set aside: %v %v", n, got, err)
		}
		if _, id, err := lab.Members(ctx, n); err != nil || id == oldID {
			t.Errorf("I4: %s serves cluster %x, %v", n, id, err)
		}
	}
}
