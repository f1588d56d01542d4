package guard

import (
	"context"
	"net"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// connectWithin bounds the TCP connection to a peer's agent, as to its etcd: a
// machine without power does not even refuse, and each start of etcd in an
// outage waits for this.
const connectWithin = 500 * time.Millisecond

// Agents asks the peers' agents over mTLS with this node's agent certificate.
// It teaches them nothing: what this node records is its own agent's to tell.
type Agents struct{ Paths node.Paths }

// Lineages implements PeerAgents.
func (a Agents) Lineages(ctx context.Context, self node.Config) []PeerLineage {
	answers := make([]*PeerLineage, len(self.Peers))
	var wg sync.WaitGroup
	for i, p := range self.Peers {
		wg.Go(func() { answers[i] = a.ask(ctx, p) })
	}
	wg.Wait()
	var out []PeerLineage
	for _, l := range answers {
		if l != nil {
			out = append(out, *l)
		}
	}
	return out
}

// ask gives nil for no answer, whatever the cause: it says nothing (I23).
func (a Agents) ask(ctx context.Context, p node.Peer) *PeerLineage {
	probe, err := (&net.Dialer{Timeout: connectWithin}).DialContext(ctx, "tcp", p.AgentAddress())
	if err != nil {
		return nil
	}
	_ = probe.Close()
	conn, err := client.Dial(p.AgentAddress(), pki.AgentFiles(a.Paths))
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	r, err := agentpb.NewAgentClient(conn).Identity(ctx, &agentpb.IdentityRequest{})
	if err != nil {
		return nil
	}
	l := PeerLineage{Node: r.GetNode().GetName()}
	for _, g := range r.GetLineage() {
		l.Lineage = append(l.Lineage, node.Generation{Epoch: g.GetEpoch(), ClusterID: g.GetClusterId(), Since: g.GetSince().AsTime(), Recovery: g.GetRecovery()})
	}
	return &l
}
