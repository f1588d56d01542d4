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

// etcdServers is a node's list.
func etcdServers(ctx context.Context, node string) ([]string, error) {
	res, err := lab.On(ctx, node, "sed", "-n", "s/.*--etcd-servers=//p", "/etc/kubernetes/manifests/kube-apiserver.yaml")
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(res.Out), ","), nil
}

func apiReady(ctx context.Context, node string) error {
	res, err := lab.On(ctx, node, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--server=https://"+lab.Address(node)+":6443", "--request-timeout=5s", "get", "--raw=/readyz")
	if err == nil && !strings.HasPrefix(res.Out, "ok") {
		err = errors.New(res.Out)
	}
	return err
}

// Each kube-apiserver gets its own member first and two others, one after the other; and it outlives the etcd beside it for
// longer than the kubelet lets one live that is not.
func Test9Servers(t *testing.T) {
	onlyInFull(t, "ten minutes")
	ctx := testContext(t, 30*time.Minute)
	operated(ctx, t)
	patch(ctx, t, `{"spec":{"apiServers":{"otherMembers":2}}}`)
	for _, n := range nodes {
		must(t, harness.Until(ctx, n+" to have three etcd servers, its own first", 2*late, func(ctx context.Context) error {
			list, err := etcdServers(ctx, n)
			if err == nil && (len(list) != 3 || !strings.Contains(list[0], "127.0.0.1")) {
				err = fmt.Errorf("it has %v", list)
			}
			return err
		}))
	}
	for _, n := range nodes {
		must(t, harness.Until(ctx, "kube-apiserver on "+n+" to be ready", late, func(ctx context.Context) error { return apiReady(ctx, n) }))
	}
	ids := containerIDs(t, "kube-apiserver")
	_, err := lab.On(ctx, "cp-3", "mv", "/etc/kubernetes/manifests/etcd.yaml", "/var/lib/ceo/held-etcd.yaml")
	must(t, err)
	back := func(ctx context.Context) {
		_, _ = lab.On(ctx, "cp-3", "mv", "/var/lib/ceo/held-etcd.yaml", "/etc/kubernetes/manifests/etcd.yaml")
	}
	t.Cleanup(func() { back(context.WithoutCancel(ctx)) })
	must(t, harness.Until(ctx, "etcd on cp-3 to be gone", soon, func(ctx context.Context) error {
		if _, err := lab.On(ctx, "cp-3", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2379"); err == nil {
			return errors.New("it listens")
		}
		return nil
	}))
	// The kubelet ends one that is not live for 80 s.
	passes(ctx, t, 2*time.Minute, func() error {
		return harness.Until(ctx, "kube-apiserver on cp-3 to be ready", soon, func(ctx context.Context) error { return apiReady(ctx, "cp-3") })
	})
	if now := containerIDs(t, "kube-apiserver"); now != ids {
		t.Errorf("a kube-apiserver was restarted while the etcd beside it was away: %s, was %s", now, ids)
	}
	back(ctx)
	whole(ctx, t)
	patch(ctx, t, `{"spec":{"apiServers":null}}`)
}
