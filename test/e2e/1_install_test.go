//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// Story 1: `ceo node install` on each of three nodes that kubeadm made, under
// load, loses no acknowledged write (I6), and kubeadm goes on working.
func Test1InstallUnderLoad(t *testing.T) {
	ctx := testContext(t, 20*time.Minute)
	before, err := lab.On(ctx, "cp-1", "cat", "/etc/kubernetes/manifests/etcd.yaml")
	must(t, err)
	w := writer(ctx, t, "install")
	must(t, w.UntilAcked(ctx, 20, soon))
	must(t, lab.Install(ctx, "", 3))
	whole(ctx, t)
	// The writer still gets through after the last restart.
	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes, none lost, longest pause %s", len(acks), longestPause(acks))

	t.Run("again changes nothing", func(t *testing.T) {
		ids := containerIDs(t, "etcd")
		must(t, lab.Install(ctx, "", 3))
		if got := containerIDs(t, "etcd"); got != ids {
			t.Fatalf("etcd was restarted: %s, was %s", got, ids)
		}
	})
	t.Run("kubeadm certs check-expiration", func(t *testing.T) {
		res, err := lab.On(ctx, "cp-1", "kubeadm", "certs", "check-expiration")
		must(t, err)
		if !strings.Contains(res.Out, "etcd-server") {
			t.Fatalf("no etcd-server in:\n%s", res.Out)
		}
	})
	t.Run("the guarded manifest keeps what kubeadm reads", func(t *testing.T) {
		now, err := lab.On(ctx, "cp-1", "cat", "/etc/kubernetes/manifests/etcd.yaml")
		must(t, err)
		for _, line := range []string{"component: etcd", "tier: control-plane", "kubeadm.kubernetes.io/etcd.advertise-client-urls", "image: registry.k8s.io/etcd:", "name: etcd-data", "name: etcd-certs"} {
			if !strings.Contains(before.Out, line) || !strings.Contains(now.Out, line) {
				t.Errorf("%q: in kubeadm's %t, in the guarded %t", line, strings.Contains(before.Out, line), strings.Contains(now.Out, line))
			}
		}
	})
	t.Run("status is well", func(t *testing.T) {
		res, err := lab.Ceo(ctx, "cp-2", "status")
		if err != nil {
			t.Fatalf("%v\n%s", err, res.Out)
		}
		for _, want := range []string{"3/3 voters", "cp-1", "cp-2", "cp-3", "leader"} {
			if !strings.Contains(res.Out, want) {
				t.Errorf("no %q in\n%s", want, res.Out)
			}
		}
	})
	t.Run("a further node joins by kubeadm, gets ceo, and goes again", func(t *testing.T) {
		onlyInFull(t, "a minute and a half; story 9 has a node join, with the installer")
		_, err := lab.Lab(ctx, "add", "4")
		must(t, err)
		_, err = lab.Lab(ctx, "cp", lab.Bin()+"/ceo", "cp-4:/usr/local/bin/ceo")
		must(t, err)
		_, err = lab.Ceo(ctx, "cp-4", "node", "install", "--image", harness.Image(""))
		must(t, err)
		knows(ctx, t, 4)
		t.Run("uninstall puts kubeadm's own manifest back, byte for byte", func(t *testing.T) {
			kept, err := lab.On(ctx, "cp-4", "cat", "/var/lib/ceo/kubeadm/etcd.yaml")
			must(t, err)
			_, err = lab.Ceo(ctx, "cp-4", "node", "uninstall")
			must(t, err)
			now, err := lab.On(ctx, "cp-4", "cat", "/etc/kubernetes/manifests/etcd.yaml")
			must(t, err)
			if !bytes.Equal([]byte(kept.Out), []byte(now.Out)) || strings.Contains(now.Out, "guard") {
				t.Fatalf("not kubeadm's own:\n%s", now.Out)
			}
		})
		_, err = lab.Lab(ctx, "remove", "4")
		must(t, err)
		knows(ctx, t, 3)
		whole(ctx, t)
	})
}

// knows waits until every agent knows that many nodes.
func knows(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	for _, node := range nodes {
		must(t, harness.Until(ctx, fmt.Sprintf("%s to know %d nodes", node, n), soon, func(ctx context.Context) error {
			v, res, err := lab.Status(ctx, node)
			if err != nil {
				return err
			}
			if ns, _ := v["nodes"].([]any); len(ns) != n {
				return fmt.Errorf("%d are known: %s", len(ns), res.Out)
			}
			return nil
		}))
	}
}

func longestPause(acks []harness.Ack) time.Duration {
	var most time.Duration
	for i := 1; i < len(acks); i++ {
		most = max(most, acks[i].At.Sub(acks[i-1].At))
	}
	return most.Round(time.Millisecond)
}

// containerIDs of a static pod on every node.
func containerIDs(t *testing.T, name string) string {
	t.Helper()
	var out []string
	for _, n := range nodes {
		res, err := lab.On(testContext(t, soon), n, "sh", "-c", "pgrep -xo "+name+" | xargs -I{} cat /proc/{}/stat | cut -d' ' -f22")
		must(t, err)
		out = append(out, n+"="+strings.TrimSpace(res.Out))
	}
	return strings.Join(out, " ")
}
