package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/state"
)

var errNoLab = errors.New("no lab is up: run lab up")

// node finds a node by name.
func (l *Lab) node(name string) (*state.Node, error) {
	if l.S == nil {
		return nil, errNoLab
	}
	return l.S.Node(name)
}

// running finds a node that has power.
func (l *Lab) running(name string) (*state.Node, error) {
	n, err := l.node(name)
	if err != nil {
		return nil, err
	}
	if !n.Init.Alive() {
		return nil, fmt.Errorf("%s has no power: lab boot %s", n.Name, n.Name)
	}
	return n, nil
}

// Kill takes the power from nodes: all at the same time.
func (l *Lab) Kill(which []string) error {
	var nodes []*state.Node
	for _, w := range which {
		n, err := l.node(w)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	return each(nodes, l.kill)
}

// Boot gives nodes power again. It returns when containerd serves; the kubelet starts by itself.
func (l *Lab) Boot(ctx context.Context, which []string) error {
	var nodes []*state.Node
	for _, w := range which {
		n, err := l.node(w)
		if err != nil {
			return err
		}
		if n.Init.Alive() {
			return fmt.Errorf("%s runs already", n.Name)
		}
		nodes = append(nodes, n)
	}
	if len(nodes) > 0 && !l.S.Switch.Alive() {
		if len(l.S.Running()) > 0 {
			return errors.New("the lab's network is down: run lab down, then lab up")
		}
		// The machine itself was rebooted: everything is off, and everything can come back.
		if err := l.startSwitch(ctx); err != nil {
			return err
		}
	}
	return each(nodes, func(n *state.Node) error { return l.boot(ctx, n) })
}

// AwaitReady waits until the kubelets of the named nodes have reported, after since, that they are Ready.
func (l *Lab) AwaitReady(ctx context.Context, which []string, since time.Time) error {
	var nodes []*state.Node
	for _, w := range which {
		n, err := l.node(w)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	return l.awaitReady(ctx, nodes, since)
}

// Wipe empties a node's /var/lib/etcd. With disk, which the node must have no power for, the whole disk is replaced by a new one.
func (l *Lab) Wipe(ctx context.Context, name string, disk bool) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	if !n.Init.Alive() {
		if err := l.settled(ctx, n); err != nil {
			return err
		}
		// For a node without power the two are the same: it boots with an empty file system.
		return node.MakeDisk(ctx, l.spec(n), l.S.EtcdDisk)
	}
	if disk {
		return fmt.Errorf("%s runs: a disk can only be replaced without power: lab kill %s first, or wipe without --disk", n.Name, n.Name)
	}
	// Through an open root, so that no link inside of the node can lead out of it.
	root, err := os.OpenRoot(filepath.Join("/proc", fmt.Sprint(n.Init.PID), "root", "var", "lib", "etcd"))
	if err != nil {
		return fmt.Errorf("wipe %s: %w", n.Name, err)
	}
	defer func() { _ = root.Close() }()
	dir, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("wipe %s: %w", n.Name, err)
	}
	entries, err := dir.Readdirnames(-1)
	_ = dir.Close()
	if err != nil {
		return fmt.Errorf("wipe %s: %w", n.Name, err)
	}
	for _, e := range entries {
		if err := root.RemoveAll(e); err != nil {
			return fmt.Errorf("wipe %s: %w", n.Name, err)
		}
	}
	return nil
}

// Partition cuts the nodes off from all others (and from the balancer); among themselves they still talk. It adds to an earlier partition's
// nodes only by naming all of them again.
func (l *Lab) Partition(ctx context.Context, which []string) error {
	var cut []string
	for _, w := range which {
		n, err := l.node(w)
		if err != nil {
			return err
		}
		if !slices.Contains(cut, n.Name) {
			cut = append(cut, n.Name)
		}
	}
	slices.Sort(cut)
	if err := l.update(func() { l.S.Partitioned = cut }); err != nil {
		return err
	}
	return l.applyPartition(ctx)
}

// Heal ends the partition.
func (l *Lab) Heal(ctx context.Context) error {
	if l.S == nil {
		return errNoLab
	}
	if err := l.update(func() { l.S.Partitioned = nil }); err != nil {
		return err
	}
	return l.applyPartition(ctx)
}

// applyPartition makes the running nodes match the state; nodes without power get theirs when they boot.
func (l *Lab) applyPartition(ctx context.Context) error {
	return each(l.S.Running(), func(n *state.Node) error {
		return network.InNode(n.Init, func() error {
			if l.S.IsPartitioned(n) {
				return network.CutOff(ctx, l.friends(n))
			}
			return network.Mend(ctx)
		})
	})
}
