package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// How often agents look at each other, and at their own etcd. A member that
// runs on while a recovery happened elsewhere is fenced within one look of
// reaching a peer that knows.
const (
	peersEvery  = 2 * time.Second
	peerLimit   = 1500 * time.Millisecond
	etcdEvery   = 5 * time.Second
	servedEvery = 10 * time.Second
)

// Identity implements agentpb.AgentServer: one call teaches both sides.
func (a *Agent) Identity(_ context.Context, req *agentpb.IdentityRequest) (*agentpb.IdentityReply, error) {
	if req.GetCaller() != nil || len(req.GetLineage()) > 0 {
		if err := a.learn(req.GetCaller(), req.GetLineage()); err != nil {
			return nil, status.Error(codes.FailedPrecondition, err.Error())
		}
		a.hear(req.GetCaller().GetName())
	}
	return a.identity(), nil
}

func (a *Agent) identity() *agentpb.IdentityReply {
	c := a.Config()
	r := &agentpb.IdentityReply{
		Node: peerToPB(selfPeer(c)), ClusterName: c.ClusterName, Peers: peersToPB(c.Peers), Lineage: lineageToPB(c.Lineage),
		ServedRevision: a.served().Revision,
	}
	if id, err := a.dataCluster(); err == nil {
		r.DataClusterId = id
	}
	if rec := a.recover.current(); rec != nil {
		r.OpenRecovery = rec.GetId()
	}
	return r
}

// learn merges what a peer says. Its own peers are not taken over: a node is
// believed about itself alone, so that one that was given up does not come back
// by hearsay.
func (a *Agent) learn(p *agentpb.Peer, gs []*agentpb.Generation) error {
	changed, err := a.update(func(c node.Config) (node.Config, bool, error) {
		merged, newer, err := c.Lineage.Merge(lineageFromPB(gs))
		if err != nil {
			a.conflict = fmt.Sprintf("%s: %v", p.GetName(), err)
			return c, false, err
		}
		a.conflict = ""
		c.Lineage = merged
		c, moved := c.WithPeer(peerFromPB(p))
		return c, newer || moved, nil
	})
	if err != nil {
		return fmt.Errorf("lineage of %s: %w", p.GetName(), err)
	}
	if changed {
		cur, _ := a.Config().Lineage.Current()
		a.log.Info("learned of a peer", "peer", p.GetName(), "epoch", cur.Epoch, "cluster", cur.ClusterID)
	}
	return nil
}

// watchPeers asks every peer who it is, for as long as the agent runs, and
// fences this node's etcd when it turns out to be of an older epoch.
func (a *Agent) watchPeers(ctx context.Context) error {
	t := time.NewTicker(peersEvery)
	defer t.Stop()
	for {
		a.askPeers(ctx)
		if err := a.fenceIfOld(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("fencing this node's etcd: tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (a *Agent) askPeers(ctx context.Context) {
	c := a.Config()
	req := &agentpb.IdentityRequest{Caller: peerToPB(selfPeer(c)), Lineage: lineageToPB(c.Lineage)}
	var wg sync.WaitGroup
	for _, p := range c.Peers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, peerLimit)
			defer cancel()
			ag, err := a.pool.Agent(p.Address)
			if err != nil {
				a.log.Warn("peer's agent", "peer", p.Name, "error", err)
				return
			}
			r, err := ag.Identity(ctx, req)
			if err != nil {
				return // unknown, which changes nothing (I23)
			}
			a.hear(p.Name)
			if err := a.learn(r.GetNode(), r.GetLineage()); err != nil {
				a.log.Error("a peer contradicts this node", "peer", p.Name, "error", err)
			}
		})
	}
	wg.Wait()
}

func (a *Agent) inspectPeer(ctx context.Context, p node.Peer) *agentpb.NodeState {
	ctx, cancel := context.WithTimeout(ctx, inspectLimit+500*time.Millisecond)
	defer cancel()
	dark := func(err error) *agentpb.NodeState {
		return &agentpb.NodeState{Name: p.Name, Address: p.Address, PeerUrl: p.PeerURL, ClientUrl: p.ClientURL, Unreachable: client.Reason(err)}
	}
	if err := a.reach(ctx, p); err != nil {
		return dark(err)
	}
	ag, err := a.pool.Agent(p.Address)
	if err != nil {
		return dark(err)
	}
	ns, err := ag.Inspect(ctx, &agentpb.InspectRequest{})
	if err != nil {
		return dark(err)
	}
	return ns
}

// How long a peer has to accept a connection. Its kernel does that, however
// busy the node is; a machine without power does not even refuse. Nothing is
// concluded from silence but that the node is unknown (I23), and in an outage
// each look waits for this.
const (
	connectLimit       = time.Second
	connectLimitSilent = 300 * time.Millisecond
	silentFor          = 8 * time.Second
)

func (a *Agent) reach(ctx context.Context, p node.Peer) error {
	limit := connectLimit
	a.mu.Lock()
	last := a.heard[p.Name]
	a.mu.Unlock()
	if time.Since(last) > silentFor && time.Since(a.started) > silentFor {
		limit = connectLimitSilent
	}
	conn, err := (&net.Dialer{Timeout: limit}).DialContext(ctx, "tcp", p.AgentAddress())
	if err != nil {
		return fmt.Errorf("its agent does not answer: %w", err)
	}
	return conn.Close()
}

// watchEtcd keeps the last revision that was served here, so that a later
// recovery goes on beyond it (I15), and the members' addresses.
func (a *Agent) watchEtcd(ctx context.Context) error {
	t := time.NewTicker(etcdEvery)
	defer t.Stop()
	last := a.served()
	var good goodWatch
	for {
		st := a.etcd.state(ctx)
		good.note(ctx, a, st)
		if st.GetAnswers() {
			now := time.Now()
			if rev := st.GetRevision(); rev > last.Revision && now.Sub(last.At) >= servedEvery {
				s := node.Served{ClusterID: st.GetClusterId(), Revision: rev, At: now.UTC()}
				if err := durable.WriteJSON(a.paths.Served(), s, 0o600); err != nil {
					a.log.Error("record the served revision", "error", err)
				} else {
					last = s
				}
			}
			if err := a.learnMembers(st); err != nil {
				a.log.Error("record the members", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// served is the highest revision ever recorded here; zero if none was.
func (a *Agent) served() node.Served {
	s, err := durable.ReadJSON[node.Served](a.paths.Served())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the record of the served revision cannot be read", "error", err)
	}
	return s
}

// learnMembers adds the members of this node's own cluster to its peers, which
// is how a node that joins later becomes known to all.
func (a *Agent) learnMembers(st *agentpb.Etcd) error {
	if !st.GetMembersLinearizable() {
		return nil
	}
	_, err := a.update(func(c node.Config) (node.Config, bool, error) {
		changed := false
		if cur, ok := c.Lineage.Current(); ok && cur.ClusterID != st.GetClusterId() {
			return c, false, nil
		}
		if c.EtcdVersion != st.GetVersion() {
			c.EtcdVersion, changed = st.GetVersion(), true
		}
		c, changed = a.forgetGone(c, st, time.Now(), changed)
		for _, m := range st.GetMembers() {
			if m.GetName() == "" || len(m.GetPeerUrls()) == 0 || slices.Contains(m.GetPeerUrls(), c.PeerURL) {
				continue
			}
			u, err := url.Parse(m.GetPeerUrls()[0])
			if err != nil {
				continue
			}
			if a.toldLately(c, m.GetName(), time.Now()) {
				continue // where it is now it knows better than the membership (P20)
			}
			p := node.Peer{Name: m.GetName(), Address: u.Hostname(), PeerURL: m.GetPeerUrls()[0]}
			if len(m.GetClientUrls()) > 0 {
				p.ClientURL = m.GetClientUrls()[0]
			}
			var added bool
			c, added = c.WithPeer(p)
			changed = changed || added
		}
		return c, changed, nil
	})
	return err
}

// goneAfter is how long a node must have been silent before a quorum's word
// that it has no member makes it no peer.
const goneAfter = 30 * time.Second

// forgetGone drops the peers that a quorum of the present cluster does not list
// and whose agent is silent: nodes that were removed. It is bookkeeping, no
// verdict: one that is merely dark makes itself known when it comes back, and
// an open recovery keeps its own list.
func (a *Agent) forgetGone(c node.Config, st *agentpb.Etcd, now time.Time, changed bool) (node.Config, bool) {
	if a.recover.current() != nil {
		return c, changed
	}
	kept := make([]node.Peer, 0, len(c.Peers))
	for _, p := range c.Peers {
		member := slices.ContainsFunc(st.GetMembers(), func(m *agentpb.Member) bool {
			return m.GetName() == p.Name || p.PeerURL != "" && slices.Contains(m.GetPeerUrls(), p.PeerURL)
		})
		last, heard := a.heard[p.Name]
		if !heard {
			last = a.started
		}
		if !member && now.Sub(last) > goneAfter {
			a.log.Info("a node without member and agent is no peer any more", "node", p.Name)
			changed = true
			continue
		}
		kept = append(kept, p)
	}
	c.Peers = kept
	return c, changed
}
