//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// standalone is the configuration of a kubelet that asks no API server (docs/render.md), with what the lab's nodes need.
const standalone = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
staticPodPath: /etc/kubernetes/manifests
failCgroupV1: false
cgroupDriver: cgroupfs
failSwapOn: false
makeIPTablesUtilChains: false
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
imageGCHighThresholdPercent: 100
imageMaximumGCAge: 0s
`

// renderIgnored are the checks of kubeadm init that docs/render.md names.
const renderIgnored = "FileAvailable--etc-kubernetes-manifests-etcd.yaml,ExternalEtcdVersion"

// Story 12: from nothing with `ceo render` to three voters while a writer runs, once with the first member on the first
// control-plane node, and once on a machine that is none, whose member leaves when the others carry the quorum (P25, I6,
// I8). Nothing is typed for etcd on the nodes that join, but for the copy of its CA.
func Test12Render(t *testing.T) {
	onlyInFull(t, "two labs of its own, seven minutes")
	t.Cleanup(func() {
		// The other stories' lab.
		ctx, cancel := context.WithTimeout(context.Background(), 2*late)
		defer cancel()
		must(t, lab.Down(ctx))
		must(t, lab.Up(ctx, 3))
	})
	for _, c := range []struct {
		name, first string
		machines    int
	}{
		{"the first member is on a machine that is no control-plane node, and leaves", "cp-4", 4},
		{"the first member is on a control-plane node, and stays", "cp-1", 3},
	} {
		t.Run(c.name, func(t *testing.T) { fromNothing(testContext(t, 6*time.Minute), t, c.first, c.machines) })
	}
}

func fromNothing(ctx context.Context, t *testing.T, first string, machines int) {
	var began, last time.Time
	phase := func(what string) {
		now := time.Now()
		t.Logf("%6.1fs  %5.1fs  %s", now.Sub(began).Seconds(), now.Sub(last).Seconds(), what)
		last = now
	}
	must(t, lab.Down(ctx))
	must(t, lab.Bare(ctx, machines))
	t.Cleanup(func() {
		if t.Failed() {
			renderTold(context.WithoutCancel(ctx), t, machines)
		}
	})
	began, last = time.Now(), time.Now()

	rendered(ctx, t, first)
	phase("ceo render on " + first)
	if first != "cp-1" {
		standsAlone(ctx, t, first)
		phase("etcd serves on " + first + ", under a kubelet without API server")
		takeCA(ctx, t, first, "cp-1")
		rendered(ctx, t, "cp-1", "--peer", first+"="+lab.Address(first))
		phase("ceo render on cp-1")
	}
	config, err := lab.On(ctx, "cp-1", "cat", "/var/lib/ceo/kubeadm/init.yaml")
	must(t, err)
	file := filepath.Join(lab.Scratch, "init.yaml")
	must(t, os.WriteFile(file, []byte(config.Out), 0o600))
	_, err = lab.Lab(ctx, "init", "--etcd-config", file, "--ignore", renderIgnored)
	must(t, err)
	phase("kubeadm init on cp-1")
	if first == "cp-1" {
		noted(ctx, t, first)
		phase("ceo node install on cp-1: which cluster this is")
	}
	w := writer(ctx, t, "render-"+first)
	must(t, w.UntilAcked(ctx, 20, soon))

	image := strings.Split(harness.Image(""), ":")
	_, err = lab.Ceo(ctx, "cp-1", "install", "--apply", "--set", "image.repository="+image[0], "--set", "image.tag="+image[1],
		"--set", "installer.interval=10s", "--set", "operator.replicas=1")
	must(t, err)
	file = filepath.Join(lab.Scratch, "render-cluster.yaml")
	must(t, os.WriteFile(file, []byte("apiVersion: clusteretcd.io/v1alpha1\nkind: EtcdCluster\nmetadata: {name: cluster}\nspec: {}\n"), 0o600))
	must(t, harness.Until(ctx, "the EtcdCluster to be made", soon, func(ctx context.Context) error {
		_, err := lab.Kubectl(ctx, "apply", "-f", file)
		return err
	}))
	phase("ceo install --apply, and the EtcdCluster")
	seenHealthy(ctx, t, "cp-1")
	phase("a voter or learner on cp-1, seen by the operator")
	for _, n := range []string{"cp-2", "cp-3"} {
		takeCA(ctx, t, first, n)
		_, err = lab.Lab(ctx, "join", n)
		must(t, err)
		phase("kubeadm join on " + n)
		seenHealthy(ctx, t, n)
		phase("a voter or learner on " + n)
	}
	membersAre(ctx, t, "cp-1", "cp-2", "cp-3")
	phase("three voters: cp-1, cp-2, cp-3, and no other")
	whole(ctx, t)
	condition(ctx, t, "Available", "True")
	condition(ctx, t, "QuorumSafe", "True")
	phase("whole, and the EtcdCluster says so")
	ownKeys(ctx, t)
	if first != "cp-1" {
		hasLeft(ctx, t, first)
		_, err = lab.Lab(ctx, "kill", first)
		must(t, err)
		whole(ctx, t)
		phase("the machine of " + first + " is gone, and the cluster whole")
	}
	acks := nothingLost(ctx, t, w)
	t.Logf("%d acknowledged writes, none lost, longest pause %s", len(acks), longestPause(acks))
}

// rendered writes a node's files, twice: the second run changes nothing (I20).
func rendered(ctx context.Context, t *testing.T, node string, flags ...string) {
	t.Helper()
	args := append([]string{"render", "--name", node, "--address", lab.Address(node), "--cluster-name", harness.Name, "--image", harness.Image("")}, flags...)
	for _, want := range []string{"wrote ", "nothing to do"} {
		res, err := lab.Ceo(ctx, node, args...)
		must(t, err)
		if !strings.Contains(res.Err, want) {
			t.Fatalf("not %q: %s", want, res.Err)
		}
	}
}

// takeCA copies etcd's CA, which a control-plane node of a stacked cluster has too.
func takeCA(ctx context.Context, t *testing.T, from, to string) {
	t.Helper()
	for _, f := range []string{"ca.crt", "ca.key"} {
		must(t, lab.Take(ctx, from, to, "/etc/kubernetes/pki/etcd/"+f))
	}
}

// standsAlone starts a kubelet that asks no API server, and waits until it has started etcd.
func standsAlone(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	must(t, lab.Put(ctx, node, "/var/lib/kubelet/config.yaml", standalone))
	must(t, lab.Put(ctx, node, "/etc/default/kubelet", "KUBELET_KUBECONFIG_ARGS=\n"))
	_, err := lab.On(ctx, node, "systemctl", "restart", "kubelet")
	must(t, err)
	noted(ctx, t, node)
}

// noted runs `ceo node install` until etcd serves, as a person would: it notes which cluster this is, and restarts nothing.
func noted(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	must(t, harness.Until(ctx, "ceo node install on "+node, soon, func(ctx context.Context) error {
		_, err := lab.Ceo(ctx, node, "node", "install", "--image", harness.Image(""))
		return err
	}))
}

// ownKeys: every node has a server key of its own, and its etcd is under the guard.
func ownKeys(ctx context.Context, t *testing.T) {
	t.Helper()
	seen := map[string]string{}
	for _, n := range nodes {
		res, err := lab.On(ctx, n, "sha256sum", "/etc/kubernetes/pki/etcd/server.key")
		must(t, err)
		sum, _, _ := strings.Cut(res.Out, " ")
		if other, ok := seen[sum]; ok {
			t.Errorf("%s and %s have one key", other, n)
		}
		seen[sum] = n
		res, err = lab.On(ctx, n, "cat", "/etc/kubernetes/manifests/etcd.yaml")
		must(t, err)
		if !strings.Contains(res.Out, "guard") {
			t.Errorf("%s: etcd is not under the guard", n)
		}
	}
}

// hasLeft: the guard of the member that was removed has set its data aside, and waits (I1, I4).
func hasLeft(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	must(t, harness.Until(ctx, "the guard of "+node+" to wait", soon, func(ctx context.Context) error {
		res, err := lab.On(ctx, node, "cat", "/var/lib/ceo/guard.json")
		if err == nil && !strings.Contains(res.Out, `"Wait"`) {
			err = errors.New(res.Out)
		}
		if err != nil {
			return err
		}
		res, err = lab.On(ctx, node, "find", "/var/lib/etcd", "-name", "db")
		if err == nil && !strings.Contains(res.Out, "archive") {
			err = fmt.Errorf("no data was set aside: %q", res.Out)
		}
		return err
	}))
}

// renderTold logs what helps to understand a failure.
func renderTold(ctx context.Context, t *testing.T, machines int) {
	t.Helper()
	for _, args := range [][]string{{"get", "nodes,pods", "-A", "-o", "wide"}, {"get", "etcdcluster", "cluster", "-o", "jsonpath={.status}"}} {
		res, _ := lab.Kubectl(ctx, args...)
		t.Log(res.Out)
	}
	for _, app := range []string{"ceo-operator", "ceo-installer"} {
		res, _ := lab.Kubectl(ctx, "-n", "kube-system", "logs", "-l", "app.kubernetes.io/name="+app, "--prefix", "--tail=30")
		t.Logf("%s:\n%s", app, res.Out)
	}
	for i := 1; i <= machines; i++ {
		res, _ := lab.On(ctx, fmt.Sprintf("cp-%d", i), "cat", "/var/lib/ceo/guard.json")
		t.Logf("guard of cp-%d: %s", i, res.Out)
		res, _ = lab.Ceo(ctx, fmt.Sprintf("cp-%d", i), "status")
		t.Logf("ceo status on cp-%d:\n%s", i, res.Out)
	}
}
