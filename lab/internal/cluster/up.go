package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/deps"
	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/state"
)

// ErrUp is what Up says when there is a lab already.
var ErrUp = errors.New("a lab is up already")

// Up brings a new lab up. Bare, its nodes run and have no cluster yet: Init and Join make it.
func (l *Lab) Up(ctx context.Context, nodes int, etcdDisk int64, bare bool) error {
	if err := l.clear(ctx); err != nil {
		return err
	}
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	if cgroup.Unified(hierarchies) {
		l.R.Say("note: this machine has cgroup v2 alone; nodes boot on it, but whole clusters were only tried on v1 (hybrid)")
	}
	if err := deps.Ensure(ctx, l.R, l.Cache, deps.Options{}); err != nil {
		return err
	}
	if err := l.begin(etcdDisk); err != nil {
		return err
	}
	for i := 1; i <= nodes; i++ {
		l.S.Nodes = append(l.S.Nodes, &state.Node{Name: fmt.Sprintf("cp-%d", i), Index: i})
	}
	if err := l.save(); err != nil {
		return err
	}
	if err := l.startSwitch(ctx); err != nil {
		return err
	}
	l.R.Say("starting %s", strings.Join(names(l.S.Nodes), ", "))
	err = each(l.S.Nodes, func(n *state.Node) error {
		return errors.Join(l.create(ctx, n), ctx.Err())
	})
	if err == nil {
		err = each(l.S.Nodes, func(n *state.Node) error { return l.boot(ctx, n) })
	}
	if err != nil {
		return err
	}
	if bare {
		if err := l.update(func() { l.S.Phase = state.Up }); err != nil {
			return err
		}
		l.R.Say("up: %d nodes without a cluster. Next: lab init; lab join NODE", nodes)
		return nil
	}
	if err := l.kubeadmInit(ctx, l.S.Nodes[0], Setup{}); err != nil {
		return err
	}
	for _, n := range l.S.Nodes[1:] {
		if err := l.kubeadmJoin(ctx, n); err != nil {
			return err
		}
	}
	if err := l.awaitReady(ctx, l.S.Nodes, l.S.Created); err != nil {
		return err
	}
	if err := l.update(func() { l.S.Phase = state.Up }); err != nil {
		return err
	}
	l.R.Say("up: %d nodes Ready. Try: lab kubectl get nodes; lab status; lab down", nodes)
	return nil
}

// clear makes room for a new lab: it refuses while one is up, and removes what a crash left behind, if that is this lab's own.
func (l *Lab) clear(ctx context.Context) error {
	found := l.found()
	if l.S != nil && l.S.Phase == state.Up && len(l.S.Running()) > 0 {
		return fmt.Errorf("%w in %s (%s): run lab down first", ErrUp, l.Dir, strings.Join(found, "; "))
	}
	if len(found) == 0 {
		return nil
	}
	l.R.Say("an earlier lab left things behind: %s: removing them", strings.Join(found, "; "))
	return l.Down(ctx)
}

func (l *Lab) begin(etcdDisk int64) error {
	l.S = &state.State{Phase: state.Starting, Created: time.Now().UTC().Truncate(time.Second), EtcdDisk: etcdDisk}
	if err := os.MkdirAll(l.Dir.Path("logs"), 0o700); err != nil {
		return fmt.Errorf("make the lab's folders: %w", err)
	}
	if err := os.MkdirAll(l.Dir.Path("images"), 0o700); err != nil {
		return fmt.Errorf("make the lab's folders: %w", err)
	}
	if err := l.save(); err != nil {
		return err
	}
	return raiseLimits()
}

// startSwitch starts the process that owns the lab's network and balances the API servers.
func (l *Lab) startSwitch(ctx context.Context) error {
	cg := l.Dir.Cgroup("switch")
	if err := cgroup.Create(cg); err != nil {
		return err
	}
	log := l.Dir.Path("logs", "switch.log")
	h, err := node.Hold(log, cloneNewNet, "internal", "switch", string(l.Dir))
	if err != nil {
		return err
	}
	if err := l.update(func() { l.S.Switch = &h.Process }); err != nil {
		h.Drop()
		return err
	}
	if err := h.Go(); err != nil {
		return err
	}
	return l.R.Wait(ctx, "the lab's switch", 20*time.Second, func(context.Context) (bool, string) {
		b, _ := os.ReadFile(log) //nolint:gosec // the lab's own log
		return strings.Contains(string(b), network.Endpoint()), string(b)
	})
}

// awaitReady waits until the kubelet of every node has said, after since, that the node is Ready. The API believes a node without power to be
// Ready for another 40 seconds.
func (l *Lab) awaitReady(ctx context.Context, nodes []*state.Node, since time.Time) error {
	return l.R.Wait(ctx, strings.Join(names(nodes), ", ")+" to be Ready", 3*time.Minute, func(ctx context.Context) (bool, string) {
		ready, saw := l.readyNodes(ctx, since)
		for _, n := range nodes {
			if !ready[n.Name] {
				return false, saw
			}
		}
		return true, saw
	})
}

// readyNodes asks the API which nodes are Ready, by word of their kubelets after since, and says what it saw.
func (l *Lab) readyNodes(ctx context.Context, since time.Time) (map[string]bool, string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := l.Kubectl(ctx, "get", "nodes", "-o", "json", "--request-timeout=5s")
	if err != nil {
		return nil, err.Error()
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct {
					Type, Status, Message string
					LastHeartbeatTime     time.Time
				}
			}
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, err.Error()
	}
	ready, saw := map[string]bool{}, []string{}
	for _, n := range list.Items {
		for _, c := range n.Status.Conditions {
			if c.Type != "Ready" {
				continue
			}
			ready[n.Metadata.Name] = c.Status == "True" && c.LastHeartbeatTime.After(since)
			switch {
			case c.Status != "True":
				saw = append(saw, n.Metadata.Name+" is not Ready: "+c.Message)
			case !ready[n.Metadata.Name]:
				saw = append(saw, n.Metadata.Name+" has not reported since "+c.LastHeartbeatTime.Format(time.TimeOnly))
			}
		}
	}
	if len(saw) == 0 {
		saw = append(saw, fmt.Sprintf("%d of %d nodes are Ready", len(ready), len(list.Items)))
	}
	return ready, strings.Join(saw, "; ")
}

func names(nodes []*state.Node) []string {
	out := make([]string, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails, by its documentation
	return hex.EncodeToString(b)
}
