package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/node"
)

// errMustNot: it was looked at under the lock, and this member is not to be restarted now.
var errMustNot = errors.New("etcd here must not be restarted now")

// restartUnderLock does what restarts this node's etcd, under the cluster's lock and after a look at all members that is
// not older than the lock (I6, P22). Where this node's own etcd is down, the lock is taken through another member. back: it
// is put back.
func (a *Agent) restartUnderLock(ctx context.Context, who string, back bool, act func(context.Context) error) error {
	checked := func(ctx context.Context, c *etcdclient.Client) error {
		if err := a.checkRestart(ctx, c, back); err != nil {
			return err
		}
		// The look took its time: the lock's may be over.
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the look at the members took longer than the lock lasts: nothing was changed: %w", err)
		}
		return act(ctx)
	}
	if st := a.etcd.state(ctx); serves(st) {
		return a.underLock(ctx, who, false, checked)
	}
	c, err := a.dialOthers()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return c.UnderLock(ctx, etcdclient.Locked{Who: who, Wait: lockWait}, func(ctx context.Context) error { return checked(ctx, c) })
}

// dialOthers is a client of the other members.
func (a *Agent) dialOthers() (*etcdclient.Client, error) {
	var urls []string
	for _, p := range a.Config().Peers {
		if p.ClientURL != "" {
			urls = append(urls, p.ClientURL)
		}
	}
	if len(urls) == 0 {
		return nil, errors.New("this node's etcd does not serve, and no other member is known: the cluster's lock cannot be had")
	}
	tls, err := etcdclient.HealthcheckTLS(a.paths.EtcdPKI())
	if err != nil {
		return nil, err
	}
	return etcdclient.Dial(urls, tls)
}

// checkRestart asks a quorum for the members and every member's agent for its state, and decides.
func (a *Agent) checkRestart(ctx context.Context, c *etcdclient.Client, back bool) error {
	asked, cancel := context.WithTimeout(ctx, try)
	m, err := c.Members(asked)
	cancel()
	if err != nil {
		return fmt.Errorf("list the members: %w", err)
	}
	cfg := a.Config()
	if g, ok := cfg.Lineage.Current(); ok && g.ClusterID != node.FormatID(m.ClusterID) {
		return fmt.Errorf("%w: the cluster that serves is %s, and this node's is %s", errMustNot, node.FormatID(m.ClusterID), g.ClusterID)
	}
	var members []etcd.Member
	for _, x := range m.Members {
		y := etcd.Member{ID: x.ID, Name: x.Name, Learner: x.Learner}
		if len(x.PeerURLs) > 0 {
			y.PeerURL = x.PeerURLs[0]
		}
		members = append(members, y)
	}
	states := a.states(ctx, cfg)
	for _, s := range states {
		if r := s.GetRecovery(); r.GetId() != "" {
			return fmt.Errorf("%w: recovery %s is open on %s (P17)", errMustNot, r.GetId(), s.GetName())
		}
	}
	if back && toRestart(states[cfg.Name]) {
		return nil
	}
	if can := mayRestart(votersNow(members, states), cfg.Name); !can.OK {
		return fmt.Errorf("%w: %s", errMustNot, can.Reason)
	}
	return nil
}

// stateLimit of a look under the lock, which lasts 25 s.
const stateLimit = 4 * time.Second

// states asks this node and every peer at once, by name. One that does not answer is not in it.
func (a *Agent) states(ctx context.Context, cfg node.Config) map[string]*agentpb.NodeState {
	ctx, cancel := context.WithTimeout(ctx, stateLimit)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]*agentpb.NodeState{}
	add := func(name string, s *agentpb.NodeState, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil && s.GetName() == name {
			out[name] = s
		}
	}
	quick := &agentpb.InspectRequest{Quick: true}
	wg.Go(func() {
		s, err := a.Inspect(ctx, quick)
		add(cfg.Name, s, err)
	})
	for _, p := range slices.Clone(cfg.Peers) {
		wg.Go(func() {
			ag, err := a.pool.Agent(p.Address)
			if err != nil {
				return
			}
			s, err := ag.Inspect(ctx, quick)
			add(p.Name, s, err)
		})
	}
	wg.Wait()
	return out
}

// lockIsLost: it could not be had because no quorum serves. Whoever was refused under it, or found another holder, has
// seen a quorum.
func lockIsLost(err error) bool {
	var held *lock.HeldError
	return !errors.Is(err, errMustNot) && !errors.As(err, &held)
}

// mustWaitUnlocked says why this node's etcd is not to be restarted without the lock; "" if it may be: it serves nobody,
// so that there is no vote to lose.
func (a *Agent) mustWaitUnlocked(ctx context.Context) string {
	for _, s := range a.states(ctx, a.Config()) {
		if r := s.GetRecovery(); r.GetId() != "" {
			return fmt.Sprintf("recovery %s is open on %s (P17)", r.GetId(), s.GetName())
		}
	}
	// Last, as it is what may have changed.
	if serves(a.etcd.state(ctx)) {
		return "etcd here is healthy again"
	}
	return ""
}
