package agent

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
)

func lineageToPB(l node.Lineage) []*agentpb.Generation {
	var out []*agentpb.Generation
	for _, g := range l {
		out = append(out, &agentpb.Generation{Epoch: g.Epoch, ClusterId: g.ClusterID, Since: timestamppb.New(g.Since), Recovery: g.Recovery})
	}
	return out
}

func lineageFromPB(gs []*agentpb.Generation) node.Lineage {
	var l node.Lineage
	for _, g := range gs {
		l = append(l, node.Generation{Epoch: g.GetEpoch(), ClusterID: g.GetClusterId(), Since: g.GetSince().AsTime(), Recovery: g.GetRecovery()})
	}
	return l
}

func peerToPB(p node.Peer) *agentpb.Peer {
	return &agentpb.Peer{Name: p.Name, Address: p.Address, PeerUrl: p.PeerURL, ClientUrl: p.ClientURL}
}

func peerFromPB(p *agentpb.Peer) node.Peer {
	return node.Peer{Name: p.GetName(), Address: p.GetAddress(), PeerURL: p.GetPeerUrl(), ClientURL: p.GetClientUrl()}
}

func peersToPB(ps []node.Peer) []*agentpb.Peer {
	var out []*agentpb.Peer
	for _, p := range ps {
		out = append(out, peerToPB(p))
	}
	return out
}

func selfPeer(c node.Config) node.Peer {
	return node.Peer{Name: c.Name, Address: c.Address, PeerURL: c.PeerURL, ClientURL: c.ClientURL}
}
