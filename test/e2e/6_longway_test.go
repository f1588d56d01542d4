//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// The long way: on a node whose etcd has no guard (kubeadm upgrade wrote the
// manifest anew, say) etcd is held and released by manifest, kubelet and CRI.
func Test6WithoutGuard(t *testing.T) {
	ctx := testContext(t, 15*time.Minute)
	whole(ctx, t)
	acks := wrote(ctx, t, "lw-a", 50)
	_, _ = lab.On(ctx, "cp-1", "rm", "-f", snapshotPath)
	b, err := lab.Save(ctx, "cp-1", snapshotPath)
	must(t, err)
	acks = append(acks, wrote(ctx, t, "lw-b", 30)...)
	// The agent alone stays: kubeadm's own etcd manifest, and the agent's pod again.
	_, err = lab.On(ctx, "cp-1", "cp", "/etc/kubernetes/manifests/ceo-agent.yaml", "/etc/kubernetes/ceo-agent.yaml.kept")
	must(t, err)
	_, err = lab.Ceo(ctx, "cp-1", "node", "uninstall")
	must(t, err)
	_, err = lab.On(ctx, "cp-1", "mv", "/etc/kubernetes/ceo-agent.yaml.kept", "/etc/kubernetes/manifests/ceo-agent.yaml")
	must(t, err)
	must(t, harness.Until(ctx, "the agent to answer", soon, func(ctx context.Context) error {
		v, _, err := lab.Status(ctx, "cp-1")
		if err == nil && v["agentDown"] != nil {
			err = fmt.Errorf("%v", v["agentDown"])
		}
		return err
	}))
	must(t, harness.Until(ctx, "etcd to run without the guard", soon, func(ctx context.Context) error {
		if _, err := lab.On(ctx, "cp-1", "sh", "-c", "! pgrep -f '^/opt/ceo/ceo guard' && pgrep -x etcd"); err != nil {
			return err
		}
		_, err := lab.Etcdctl(ctx, "cp-1", "endpoint", "health")
		return err
	}))
	whole(ctx, t)
	res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("rollback"), "--wait", "--from", snapshotPath)...)
	must(t, err)
	t.Log(res.Out + res.Err)
	how, err := lab.Ended(ctx, "cp-1", late)
	must(t, err)
	if how != "done" {
		t.Fatalf("ended as %q", how)
	}
	whole(ctx, t)
	recovered(ctx, t, acks, b)
	if got, err := lab.Archived(ctx, "cp-1"); err != nil || len(got) == 0 {
		t.Errorf("I1: nothing set aside: %v %v", got, err)
	}
	// The guard comes back by the command that put it there.
	res, err = lab.Ceo(ctx, "cp-1", "node", "install", "--image", harness.Image(""))
	must(t, err)
	whole(ctx, t)
	if _, err := lab.On(ctx, "cp-1", "pgrep", "-f", "^/opt/ceo/ceo guard"); err != nil {
		t.Fatal(fmt.Errorf("no guard after ceo node install: %w\n%s", err, res.Err))
	}
}
