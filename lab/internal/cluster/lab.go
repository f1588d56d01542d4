// Package cluster drives a lab: it brings kubeadm clusters up, breaks them, and removes them.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/deps"
	"clusteretcd.io/ceo/lab/internal/image"
	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/progress"
	"clusteretcd.io/ceo/lab/internal/state"
)

// Lab is a lab that the caller has locked.
type Lab struct {
	Dir   state.Dir
	Cache deps.Cache
	R     *progress.Reporter
	S     *state.State
	mu    sync.Mutex // guards S where nodes are handled side by side
}

// save writes the state down. What is about to be made must be in it before it is made.
func (l *Lab) save() error { return l.Dir.Write(l.S) }

// update changes the state and writes it down.
func (l *Lab) update(change func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	return l.save()
}

func (l *Lab) spec(n *state.Node) node.Spec {
	s := node.Spec{
		Name: n.Name, Index: n.Index, IP: n.IP(), Dir: l.Dir.NodePath(n), Cgroup: l.Dir.Cgroup(n.Name),
		KubernetesBin: l.Cache.KubernetesBin(), EtcdBin: l.Cache.EtcdBin(),
	}
	for _, other := range l.S.Nodes {
		if other.Moved != "" {
			if s.Moved == nil {
				s.Moved = map[int]string{}
			}
			s.Moved[other.Index] = other.Moved
		}
	}
	if l.S.IsPartitioned(n) {
		s.CutOff, s.Friends = true, l.friends(n)
	}
	return s
}

// friends are the addresses on the node's side of the partition.
func (l *Lab) friends(n *state.Node) []string {
	var out []string
	for _, other := range l.S.Nodes {
		if other != n && l.S.IsPartitioned(other) {
			out = append(out, other.IP())
		}
	}
	return out
}

// command is a command inside of a node, as a child of the calling process.
func (l *Lab) command(ctx context.Context, n *state.Node, argv ...string) (*exec.Cmd, error) {
	argv, err := l.argv(n, argv...)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // itself
	settle(cmd)
	return cmd, nil
}

func (l *Lab) argv(n *state.Node, argv ...string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the lab's own binary: %w", err)
	}
	return append([]string{self, "exec", n.Name, "--"}, argv...), nil
}

// settle makes a child end with this process, and politely when its time is over.
func settle(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = os.Environ()
	cmd.WaitDelay = 3 * time.Second
}

// inNode runs a command in a node and returns what it printed.
func (l *Lab) inNode(ctx context.Context, n *state.Node, argv ...string) ([]byte, error) {
	cmd, err := l.command(ctx, n, argv...)
	if err != nil {
		return nil, err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s on %s: %w: %s", strings.Join(argv, " "), n.Name, err, progress.Tail(out, 5))
	}
	return out, nil
}

// logged runs a long command in a node with its output in a log.
func (l *Lab) logged(ctx context.Context, n *state.Node, what, log string, limit time.Duration, argv ...string) error {
	argv, err := l.argv(n, argv...)
	if err != nil {
		return err
	}
	return l.R.Run(ctx, progress.Step{What: what, Limit: limit, Log: l.Dir.Path("logs", log)}, argv, settle)
}

// Kubectl runs kubectl against the balancer, beside the nodes.
func (l *Lab) Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the lab's own binary: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"kubectl"}, args...)...) //nolint:gosec // itself
	settle(cmd)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, progress.Tail([]byte(stderr.String()), 3))
	}
	return out, nil
}

// each runs f for every node at the same time and joins the errors.
func each(nodes []*state.Node, f func(*state.Node) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = f(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// create makes the files and the disk of a new node.
func (l *Lab) create(ctx context.Context, n *state.Node) error {
	s := l.spec(n)
	if err := node.Prepare(s, deps.Registry+"/pause:"+deps.Pause); err != nil {
		return err
	}
	if err := image.CloneStore(l.Cache.Store(), s.Var("lib/containerd")); err != nil {
		return err
	}
	return node.MakeDisk(ctx, s, l.S.EtcdDisk)
}

// boot starts a node's first process and waits until its containerd serves.
func (l *Lab) boot(ctx context.Context, n *state.Node) error {
	s := l.spec(n)
	if err := l.settled(ctx, n); err != nil {
		return err
	}
	if err := cgroup.Create(s.Cgroup); err != nil {
		return err
	}
	h, err := node.Start(s)
	if err != nil {
		return err
	}
	if err := l.update(func() { n.Init = &h.Process }); err != nil {
		h.Drop()
		return err
	}
	if err := network.Plug(ctx, l.S.Switch, n.Index, h.Process.PID); err != nil {
		h.Drop()
		return fmt.Errorf("connect %s: %w", n.Name, err)
	}
	if err := h.Go(); err != nil {
		return fmt.Errorf("start %s: %w\n%s", n.Name, err, progress.TailFile(s.InitLog(), 10))
	}
	inNode := func(ctx context.Context, argv ...string) ([]byte, error) { return l.inNode(ctx, n, argv...) }
	if err := node.AwaitContainerd(ctx, l.R, s, n.Init, inNode); err != nil {
		return err
	}
	return l.catchUp(ctx, n)
}

// settled waits until nothing is left of the node's last run: an XFS that is mounted twice is a broken XFS.
func (l *Lab) settled(ctx context.Context, n *state.Node) error {
	if err := cgroup.Destroy(l.Dir.Cgroup(n.Name), 20*time.Second); err != nil {
		return err
	}
	return l.R.Wait(ctx, "the last disk of "+n.Name+" to be released", 20*time.Second, func(context.Context) (bool, string) {
		loops := node.Loops(l.spec(n).EtcdImage())
		return len(loops) == 0, strings.Join(loops, " ") + " still holds it"
	})
}

// kill ends a node as a power loss does.
func (l *Lab) kill(n *state.Node) error {
	if err := n.Init.Kill(); err != nil {
		return err
	}
	// The first process takes everything in its pid namespace with it; what entered the node from outside is in its cgroup.
	if err := cgroup.Destroy(l.Dir.Cgroup(n.Name), 30*time.Second); err != nil {
		return err
	}
	return l.update(func() { n.Init = nil })
}
