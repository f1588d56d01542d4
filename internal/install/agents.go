package install

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// Agents is how the installation talks to agents; the calls are bounded by their context.
type Agents interface {
	// Local asks this node's agent over its socket, and returns the id of a recovery that it has open, if any.
	Local(ctx context.Context) (openRecovery string, err error)
	// Teach tells this node's agent which cluster each epoch had: it reads node.json when it starts, and never again.
	Teach(ctx context.Context, lineage node.Lineage) error
	// Peer tells another node's agent of this one and learns which recoveries there were.
	Peer(ctx context.Context, peer, self node.Peer) (node.Lineage, error)
}

// agents is Agents over gRPC.
type agents struct{ paths node.Paths }

func (a agents) Local(ctx context.Context) (string, error) {
	conn, err := grpc.NewClient("unix:"+a.paths.AgentSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", fmt.Errorf("this node's agent: %w", err)
	}
	defer func() { _ = conn.Close() }()
	reply, err := agentpb.NewAgentClient(conn).Identity(ctx, &agentpb.IdentityRequest{})
	if err != nil {
		return "", fmt.Errorf("this node's agent: %w", err)
	}
	return reply.GetOpenRecovery(), nil
}

func (a agents) Teach(ctx context.Context, lineage node.Lineage) error {
	conn, err := grpc.NewClient("unix:"+a.paths.AgentSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("this node's agent: %w", err)
	}
	defer func() { _ = conn.Close() }()
	req := &agentpb.IdentityRequest{}
	for _, g := range lineage {
		req.Lineage = append(req.Lineage, &agentpb.Generation{Epoch: g.Epoch, ClusterId: g.ClusterID, Since: timestamppb.New(g.Since), Recovery: g.Recovery})
	}
	if _, err := agentpb.NewAgentClient(conn).Identity(ctx, req); err != nil {
		return fmt.Errorf("tell this node's agent which cluster this is: %w", err)
	}
	return nil
}

func (a agents) Peer(ctx context.Context, peer, self node.Peer) (node.Lineage, error) {
	config, err := pki.ClientTLS(pki.AgentFiles(a.paths), peer.Address)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(peer.AgentAddress(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, fmt.Errorf("agent of %s: %w", peer.Name, err)
	}
	defer func() { _ = conn.Close() }()
	reply, err := agentpb.NewAgentClient(conn).Identity(ctx, &agentpb.IdentityRequest{Caller: &agentpb.Peer{
		Name: self.Name, Address: self.Address, PeerUrl: self.PeerURL, ClientUrl: self.ClientURL,
	}})
	if err != nil {
		return nil, fmt.Errorf("agent of %s at %s: %w", peer.Name, peer.AgentAddress(), err)
	}
	var out node.Lineage
	for _, g := range reply.GetLineage() {
		out = append(out, node.Generation{Epoch: g.GetEpoch(), ClusterID: g.GetClusterId(), Since: g.GetSince().AsTime(), Recovery: g.GetRecovery()})
	}
	return out, nil
}

// askPeers asks all at once, each within its own limit (P21); those that did not answer are named with the reason.
func askPeers(ctx context.Context, a Agents, peers []node.Peer, self node.Peer) (answers []node.Lineage, silent map[string]error) {
	silent = map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, peer := range peers {
		wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx, perMember)
			defer cancel()
			l, err := a.Peer(limited, peer, self)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent[peer.Name] = err
				return
			}
			if len(l) > 0 {
				answers = append(answers, l)
			}
		})
	}
	wg.Wait()
	return answers, silent
}
