package install

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/node"
)

// perMember bounds what one member is asked (P21).
const perMember = 3 * time.Second

// nodesPrefix is where each node that has ceo leaves its name, so that a node that joins later knows whom to ask.
const nodesPrefix = "/clusteretcd.io/nodes/"

// cluster is etcd as this node reaches it.
type cluster struct {
	local string
	tls   *tls.Config
	// endpoints are where the member list is asked, each by itself.
	endpoints []string
	state     *client.Client
	// all goes to the members that were healthy when they were last looked at: a member that stands still would make
	// every other request wait (P21).
	all *clientv3.Client
}

// connect knows this node's member and, where this node knows any, its peers'.
func connect(p node.Paths, local string, others []string) (*cluster, error) {
	config, err := client.HealthcheckTLS(p.EtcdPKI())
	if err != nil {
		return nil, err
	}
	c := &cluster{local: local, tls: config, endpoints: append([]string{local}, others...)}
	if c.state, err = client.Dial(c.endpoints, config); err != nil {
		return nil, err
	}
	if c.all, err = c.dial(c.endpoints...); err != nil {
		_ = c.state.Close()
		return nil, err
	}
	return c, nil
}

func (c *cluster) dial(endpoints ...string) (*clientv3.Client, error) {
	cl, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: c.tls, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %v: %w", endpoints, err)
	}
	return cl, nil
}

func (c *cluster) close() {
	_ = c.all.Close()
	_ = c.state.Close()
}

// list asks every endpoint at once for the member list that a quorum confirms; the first answer will do (P21).
func (c *cluster) list(ctx context.Context) (client.Membership, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*perMember)
	defer cancel()
	type answer struct {
		list client.Membership
		err  error
	}
	answers := make(chan answer, len(c.endpoints))
	for _, endpoint := range c.endpoints {
		go func() {
			one, err := client.Dial([]string{endpoint}, c.tls)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			defer func() { _ = one.Close() }()
			list, err := one.Members(ctx)
			answers <- answer{list, err}
		}()
	}
	var errs []error
	for range c.endpoints {
		a := <-answers
		if a.err == nil {
			return a.list, nil
		}
		errs = append(errs, a.err)
	}
	return client.Membership{}, fmt.Errorf("etcd does not answer with a quorum: %w: see `ceo status`, and `ceo recover --plan` if the quorum is lost", errors.Join(errs...))
}

// view is the membership, each member's health, and who leads.
type view struct {
	clusterID uint64
	leader    uint64
	versions  map[uint64]string
	members   []client.Member
	healthy   []etcd.Member
	why       map[uint64]string
}

// look lists the members as a quorum confirms them and asks each, all at once and each within its own limit (P21).
func (c *cluster) look(ctx context.Context) (view, error) {
	list, err := c.list(ctx)
	if err != nil {
		return view{}, err
	}
	v := view{clusterID: list.ClusterID, members: list.Members, why: map[uint64]string{}, versions: map[uint64]string{}}
	v.healthy = make([]etcd.Member, len(list.Members))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, m := range list.Members {
		wg.Go(func() {
			s, err := c.ask(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			v.healthy[i] = etcd.Member{ID: m.ID, Name: m.Name, PeerURL: strings.Join(m.PeerURLs, ","), Learner: m.Learner, Health: etcd.Healthy}
			if err != nil {
				// Unknown, not dead (I23); it counts as not healthy all the same.
				v.healthy[i].Health = etcd.Unknown
				v.why[m.ID] = err.Error()
				return
			}
			if s.Leader != 0 {
				v.leader = s.Leader
			}
			v.versions[m.ID] = s.Version
		})
	}
	wg.Wait()
	c.follow(v)
	return v, nil
}

// follow lets requests go to the healthy members alone from here on.
func (c *cluster) follow(v view) {
	c.endpoints = []string{c.local}
	healthy := []string{}
	for i, m := range v.members {
		c.endpoints = append(c.endpoints, m.ClientURLs...)
		if v.healthy[i].Health == etcd.Healthy && !m.Learner {
			healthy = append(healthy, m.ClientURLs...)
		}
	}
	if len(healthy) > 0 {
		c.all.SetEndpoints(healthy...)
	}
}

// ask says that a member is healthy if it answers a read that a quorum confirmed, through itself alone.
func (c *cluster) ask(ctx context.Context, m client.Member) (client.Status, error) {
	if len(m.ClientURLs) == 0 {
		return client.Status{}, errors.New("was added and never started")
	}
	ctx, cancel := context.WithTimeout(ctx, perMember)
	defer cancel()
	s, err := c.state.Status(ctx, m.ClientURLs[0])
	switch {
	case err != nil:
		return s, err
	case len(s.Errors) > 0:
		return s, errors.New(strings.Join(s.Errors, ", "))
	case s.Leader == 0:
		return s, errors.New("knows no leader")
	case m.Learner:
		// A learner refuses such reads; it counts for no quorum either.
		return s, nil
	}
	return s, c.read(ctx, m.ClientURLs[0])
}

// read does a linearizable read through one member.
func (c *cluster) read(ctx context.Context, endpoint string) error {
	one, err := c.dial(endpoint)
	if err != nil {
		return err
	}
	defer func() { _ = one.Close() }()
	if _, err := one.Get(ctx, lock.Key); err != nil {
		return fmt.Errorf("read through %s: %w", endpoint, err)
	}
	return nil
}

// installed lists the other nodes that have ceo.
func (c *cluster) installed(ctx context.Context, self string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, perMember)
	defer cancel()
	res, err := c.all.Get(ctx, nodesPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("which nodes have ceo: %w", err)
	}
	var names []string
	for _, kv := range res.Kvs {
		if name := path.Base(string(kv.Key)); name != self {
			names = append(names, name)
		}
	}
	return names, nil
}

func (c *cluster) note(ctx context.Context, name string, installed bool) error {
	ctx, cancel := context.WithTimeout(ctx, perMember)
	defer cancel()
	var err error
	if installed {
		_, err = c.all.Put(ctx, nodesPrefix+name, "")
	} else {
		_, err = c.all.Delete(ctx, nodesPrefix+name)
	}
	if err != nil {
		return fmt.Errorf("note in etcd whether %s has ceo: %w", name, err)
	}
	return nil
}

// moveLeader hands the leadership from this member to the healthy voter that has applied most, and waits until it has it.
func (c *cluster) moveLeader(ctx context.Context, v view, self uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var target client.Member
	var best uint64
	for i, m := range v.members {
		if m.ID == self || m.Learner || v.healthy[i].Health != etcd.Healthy {
			continue
		}
		if s, err := c.state.Status(ctx, m.ClientURLs[0]); err == nil && s.AppliedIndex > best {
			best, target = s.AppliedIndex, m
		}
	}
	if target.ID == 0 {
		return errors.New("hand the leadership over: no healthy voter to take it")
	}
	leader, err := c.dial(c.local)
	if err != nil {
		return fmt.Errorf("hand the leadership over: %w", err)
	}
	defer func() { _ = leader.Close() }()
	if _, err := leader.MoveLeader(ctx, target.ID); err != nil {
		return fmt.Errorf("hand the leadership over to %s: %w", target.Name, err)
	}
	return wait(ctx, "waiting for another leader", 15*time.Second, func(ctx context.Context) error {
		s, err := c.state.Status(ctx, c.local)
		if err != nil {
			return err
		}
		if s.Leader == self || s.Leader == 0 {
			return fmt.Errorf("the leader is %x", s.Leader)
		}
		return nil
	})
}

// caughtUp waits until the local member answers reads of its own and has applied what the leader had when it began.
func (c *cluster) caughtUp(ctx context.Context, limit time.Duration) error {
	var goal uint64
	return wait(ctx, "waiting for etcd on this node to catch up", limit, func(ctx context.Context) error {
		s, err := c.state.Status(ctx, c.local)
		if err != nil {
			return err
		}
		if goal == 0 {
			if goal, err = c.leaderIndex(ctx, s); err != nil {
				return err
			}
		}
		if s.AppliedIndex < goal {
			return fmt.Errorf("applied %d of %d", s.AppliedIndex, goal)
		}
		if s.Learner {
			return nil
		}
		return c.read(ctx, c.local)
	})
}

func (c *cluster) leaderIndex(ctx context.Context, local client.Status) (uint64, error) {
	if local.Leader == 0 {
		return 0, errors.New("knows no leader")
	}
	list, err := c.list(ctx)
	if err != nil {
		return 0, err
	}
	for _, m := range list.Members {
		if m.ID == local.Leader && len(m.ClientURLs) > 0 {
			s, err := c.state.Status(ctx, m.ClientURLs[0])
			return s.AppliedIndex, err
		}
	}
	return 0, fmt.Errorf("the leader %x is not in the member list", local.Leader)
}
