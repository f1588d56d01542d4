package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/lab/internal/deps"
	"clusteretcd.io/ceo/lab/internal/state"
)

// Add makes a further node and joins it.
func (l *Lab) Add(ctx context.Context, name string) error {
	if l.S == nil || l.S.Phase != state.Up {
		return errNoLab
	}
	index, err := state.NodeIndex(name)
	if err != nil {
		return err
	}
	n := &state.Node{Name: fmt.Sprintf("cp-%d", index), Index: index}
	if have, err := l.S.Node(n.Name); err == nil && have.Joined {
		return fmt.Errorf("%s is there already", n.Name)
	} else if err == nil { // a join that failed or was interrupted: begin anew
		if err := l.discard(have); err != nil {
			return err
		}
	}
	helper, err := l.helper(ctx, n)
	if err != nil {
		return err
	}
	if err := l.update(func() { l.S.Nodes = append(l.S.Nodes, n) }); err != nil {
		return err
	}
	began := time.Now()
	l.R.Say("%s: starting", n.Name)
	if err := l.create(ctx, n); err != nil {
		return err
	}
	if err := l.boot(ctx, n); err != nil {
		return err
	}
	// Credentials are short-lived (kubeadm deletes the certificates after two hours): always make new ones.
	c := newCredentials()
	if err := state.WriteFile(l.credentialsFile(), []byte(c.token+" "+c.key)); err != nil {
		return err
	}
	if err := l.writeIn(helper, "root/upload-certs.yaml", fmt.Sprintf(uploadConfig, helper.IP(), c.key, deps.Kubernetes)); err != nil {
		return err
	}
	if err := l.logged(ctx, helper, "kubeadm token create on "+helper.Name, "kubeadm-"+n.Name+".log", time.Minute,
		"kubeadm", "token", "create", c.token, "--ttl", "1h", "--kubeconfig", "/etc/kubernetes/admin.conf"); err != nil {
		return err
	}
	if err := l.logged(ctx, helper, "kubeadm upload-certs on "+helper.Name, "kubeadm-"+n.Name+".log", time.Minute,
		"kubeadm", "init", "phase", "upload-certs", "--upload-certs", "--config", "/root/upload-certs.yaml", "--skip-certificate-key-print"); err != nil {
		return err
	}
	if err := l.kubeadmJoin(ctx, n); err != nil {
		return err
	}
	return l.awaitReady(ctx, []*state.Node{n}, began)
}

// helper is a running joined node other than n.
func (l *Lab) helper(ctx context.Context, n *state.Node) (*state.Node, error) {
	ready, saw := l.readyNodes(ctx, time.Time{})
	for _, other := range l.S.Running() {
		if other.Joined && other.Name != n.Name && !l.S.IsPartitioned(other) && ready[other.Name] {
			return other, nil
		}
	}
	return nil, fmt.Errorf("no other node is Ready to do this from: %s", saw)
}

// Remove takes a node out of the cluster for good: out of etcd, out of Kubernetes, and its files.
func (l *Lab) Remove(ctx context.Context, name string) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	if len(l.S.Nodes) == 1 {
		return errors.New("this is the only node: lab down")
	}
	if n.Joined {
		helper, err := l.helper(ctx, n)
		if err != nil {
			return err
		}
		if n.Init.Alive() {
			l.R.Say("%s: kubeadm reset", n.Name)
			if err := l.logged(ctx, n, "kubeadm reset on "+n.Name, "kubeadm-"+n.Name+".log", 3*time.Minute, "kubeadm", "reset", "--force"); err != nil {
				return err
			}
		}
		// A node without power cannot take itself out, and kubeadm reset goes on when it failed to.
		if err := l.removeMember(ctx, helper, n.Name); err != nil {
			return err
		}
		if _, err := l.Kubectl(ctx, "delete", "node", n.Name, "--ignore-not-found", "--timeout=60s"); err != nil {
			return err
		}
	}
	return l.discard(n)
}

// discard ends a node and removes its files.
func (l *Lab) discard(n *state.Node) error {
	if err := l.kill(n); err != nil {
		return err
	}
	if err := l.settled(context.Background(), n); err != nil {
		return err
	}
	if err := os.RemoveAll(l.Dir.NodePath(n)); err != nil {
		return fmt.Errorf("remove the files of %s: %w", n.Name, err)
	}
	return l.update(func() {
		l.S.Nodes = slices.DeleteFunc(l.S.Nodes, func(o *state.Node) bool { return o == n })
		l.S.Partitioned = slices.DeleteFunc(l.S.Partitioned, func(p string) bool { return p == n.Name })
	})
}

// etcdctl runs etcdctl in a node with the certificates that kubeadm's probes use.
func (l *Lab) etcdctl(ctx context.Context, n *state.Node, args ...string) ([]byte, error) {
	const pki = "/etc/kubernetes/pki/etcd/"
	return l.inNode(ctx, n, append([]string{
		"etcdctl", "--endpoints=https://127.0.0.1:2379", "--cacert=" + pki + "ca.crt", "--cert=" + pki + "healthcheck-client.crt", "--key=" + pki + "healthcheck-client.key",
		"--dial-timeout=3s", "--command-timeout=10s",
	}, args...)...)
}

func (l *Lab) removeMember(ctx context.Context, helper *state.Node, name string) error {
	out, err := l.etcdctl(ctx, helper, "member", "list", "--hex", "-w", "json")
	if err != nil {
		return err
	}
	var list struct {
		Members []struct {
			ID   any    `json:"ID"`
			Name string `json:"name"`
		} `json:"members"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return fmt.Errorf("list etcd members: %w: %s", err, strings.TrimSpace(string(out)))
	}
	for _, m := range list.Members {
		if m.Name == name {
			l.R.Say("%s: removing its etcd member", name)
			_, err := l.etcdctl(ctx, helper, "member", "remove", fmt.Sprint(m.ID))
			return err
		}
	}
	return nil
}
