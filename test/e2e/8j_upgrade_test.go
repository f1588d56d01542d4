//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/test/harness"
)

// Story 18: etcd 3.6 becomes 3.7 under a writer: one restart at a time, a backup before it, no acknowledged write lost; and
// the way back is refused (P23).
func Test18Upgrade(t *testing.T) {
	onlyInFull(t, "six minutes, and etcd 3.6: make deps-old-etcd")
	ctx := testContext(t, 25*time.Minute)
	whole(ctx, t)
	for version, dir := range map[string]string{etcdtest.Version36: etcdtest.OldBinDir(t, etcdtest.Version36), etcdtest.Version: etcdtest.BinDir(t)} {
		tar := filepath.Join(lab.Scratch, "etcd-"+version+".tar")
		_, err := lab.Lab(ctx, "image", tar, etcdImage(version), filepath.Join(dir, "etcd"), filepath.Join(dir, "etcdctl"))
		must(t, err)
		_, err = lab.Lab(ctx, "load", tar)
		must(t, err)
	}
	// kubeadm brings its own version; etcd's own way down makes it a cluster of 3.6.
	must(t, harness.Until(ctx, "the way down to be open", soon, func(ctx context.Context) error {
		_, err := lab.Etcdctl(ctx, "cp-1", "downgrade", "enable", "3.6")
		return err
	}))
	for _, n := range nodes {
		// With another name first: the kubelet reads whatever lies in its folder, half of a file too.
		_, err := lab.On(ctx, n, "sh", "-c", "sed 's#image: .*/etcd:.*#image: "+etcdImage(etcdtest.Version36)+"#' /etc/kubernetes/manifests/etcd.yaml >/root/etcd.yaml && "+
			"mv /root/etcd.yaml /etc/kubernetes/manifests/etcd.yaml")
		must(t, err)
		must(t, harness.Until(ctx, n+" to run etcd 3.6", late, func(ctx context.Context) error { return runsVersion(ctx, n, etcdtest.Version36) }))
		whole(ctx, t)
	}
	operated(ctx, t)
	w := writer(ctx, t, "upgrade")
	must(t, w.UntilAcked(ctx, 20, soon))
	look := watched(ctx, t)

	began := time.Now()
	patch(ctx, t, fmt.Sprintf(`{"spec":{"etcd":{"version":%q,"image":%q}}}`, etcdtest.Version, etcdImage(etcdtest.Version)))
	rolledOut(ctx, t)
	t.Logf("three members are of %s after %s", etcdtest.Version, time.Since(began).Round(time.Second))
	look()
	whole(ctx, t)
	saved := 0
	for _, n := range nodes {
		must(t, runsVersion(ctx, n, etcdtest.Version))
		res, err := lab.Ceo(ctx, n, "backup", "list", "-o", "json")
		if err != nil && res.Code != 2 { // 2: there is none
			t.Fatal(err)
		}
		if strings.Contains(res.Out, `"`+etcdtest.Version36) {
			saved++
		}
	}
	if saved == 0 {
		t.Error("no node has a backup of 3.6")
	}
	_, err := lab.Kubectl(ctx, "patch", "etcdcluster", "cluster", "--type", "merge", "-p",
		fmt.Sprintf(`{"spec":{"etcd":{"version":%q,"image":%q}}}`, etcdtest.Version36, etcdImage(etcdtest.Version36)))
	if err == nil || !strings.Contains(err.Error(), "downgrade") {
		t.Errorf("the way back: %v", err)
	}
	v, err := lab.EtcdCluster(ctx)
	must(t, err)
	if v.Status.Rollout == nil || v.Status.Rollout.State != v1alpha1.RolloutComplete {
		t.Errorf("the roll-out: %+v", v.Status.Rollout)
	}
	condition(ctx, t, "Degraded", "False")
	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes, none lost, longest pause %s", len(acks), longestPause(acks))
	patch(ctx, t, `{"spec":{"etcd":null}}`) // what runs stays
}

func etcdImage(version string) string { return "registry.k8s.io/etcd:" + version + "-0" }

func runsVersion(ctx context.Context, node, want string) error {
	e, err := lab.Endpoint(ctx, node)
	if err == nil && e.Version != want {
		err = fmt.Errorf("it runs %s", e.Version)
	}
	return err
}
