package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"clusteretcd.io/ceo/test/harness"
)

// manual is what the Kubernetes and etcd documentation tell a person to do on
// three kubeadm nodes, without the person: all API servers and etcds out, the
// snapshot restored on every node with the same membership and token, etcds in,
// API servers in, controller-manager and scheduler restarted. It does each on
// all nodes at the same time, which a person cannot, and it waits for each
// thing to be true rather than for a while.
func manual(ctx context.Context, c *harness.Cluster) error {
	const out = "/root/manifests-out"
	each := func(script func(n string, i int) string) error {
		g, ctx := errgroup.WithContext(ctx)
		for i, n := range nodes {
			g.Go(func() error {
				_, err := c.On(ctx, n, "sh", "-ec", script(n, i+1))
				return err
			})
		}
		return g.Wait()
	}
	gone := "for i in $(seq 600); do pgrep -x etcd >/dev/null || pgrep -x kube-apiserver >/dev/null || exit 0; sleep 0.2; done; echo still running; exit 1"
	if err := each(func(string, int) string {
		return "mkdir -p " + out + "; mv /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/manifests/kube-controller-manager.yaml /etc/kubernetes/manifests/kube-scheduler.yaml /etc/kubernetes/manifests/etcd.yaml " + out + "/; " + gone
	}); err != nil {
		return fmt.Errorf("take the static pods out: %w", err)
	}
	// The snapshot is carried to every node.
	for _, n := range nodes[1:] {
		if _, err := c.Lab(ctx, "cp", "cp-1:"+snapshotPath, c.Scratch+"/snapshot.db"); err != nil {
			return err
		}
		if _, err := c.On(ctx, n, "mkdir", "-p", "/var/lib/etcd-backup"); err != nil {
			return err
		}
		if _, err := c.Lab(ctx, "cp", c.Scratch+"/snapshot.db", n+":"+snapshotPath); err != nil {
			return err
		}
	}
	var cluster []string
	for i, n := range nodes {
		cluster = append(cluster, fmt.Sprintf("%s=https://10.78.0.1%d:2380", n, i+1))
	}
	token := fmt.Sprintf("restored-%d", time.Now().UnixNano())
	if err := each(func(n string, i int) string {
		return fmt.Sprintf("if [ -e /var/lib/etcd/member ]; then mv /var/lib/etcd/member /var/lib/etcd/old-$(date +%%s); fi; rm -rf /var/lib/etcd/restored; "+
			"etcdutl snapshot restore %s --name %s --initial-cluster %s --initial-cluster-token %s --initial-advertise-peer-urls https://10.78.0.1%d:2380 "+
			"--data-dir /var/lib/etcd/restored --bump-revision 1000000000 --mark-compacted; mv /var/lib/etcd/restored/member /var/lib/etcd/member; mv %s/etcd.yaml /etc/kubernetes/manifests/",
			snapshotPath, n, strings.Join(cluster, ","), token, i, out)
	}); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := harness.Until(ctx, "etcd to be healthy on every node", 5*time.Minute, func(ctx context.Context) error { return voters(ctx, c) }); err != nil {
		return err
	}
	return each(func(string, int) string { return "mv " + out + "/*.yaml /etc/kubernetes/manifests/" })
}
