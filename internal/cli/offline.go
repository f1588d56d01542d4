package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

// askLimit bounds each look at a part while the agent is dead.
const askLimit = 3 * time.Second

// observeWithoutAgent gathers what root on this node can see: its files, its
// guard and etcd, and the peers' agents with the admin's certificate.
func observeWithoutAgent(ctx context.Context, p node.Paths) (*agentpb.Observation, error) {
	c, err := node.Load(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	ob := &agentpb.Observation{ClusterName: c.ClusterName, Coordinator: c.Name, At: timestamppb.Now(), Nodes: make([]*agentpb.NodeState, 1+len(c.Peers))}
	pool := client.NewPool(pki.AdminFiles(p))
	defer func() { _ = pool.Close() }()
	var wg sync.WaitGroup
	wg.Go(func() { ob.Nodes[0] = ownFiles(ctx, p, c) })
	for i, peer := range c.Peers {
		wg.Go(func() { ob.Nodes[i+1] = askPeer(ctx, pool, peer) })
	}
	wg.Wait()
	return ob, nil
}

func askPeer(ctx context.Context, pool *client.Pool, p node.Peer) *agentpb.NodeState {
	a, err := pool.Agent(p.Address)
	if err == nil {
		var ns *agentpb.NodeState
		if ns, err = a.Inspect(ctx, &agentpb.InspectRequest{}); err == nil {
			return ns
		}
	}
	return &agentpb.NodeState{Name: p.Name, Address: p.Address, PeerUrl: p.PeerURL, ClientUrl: p.ClientURL, Unreachable: client.Reason(err)}
}

func ownFiles(ctx context.Context, p node.Paths, c node.Config) *agentpb.NodeState {
	ns := &agentpb.NodeState{
		Name: c.Name, Address: c.Address, PeerUrl: c.PeerURL, ClientUrl: c.ClientURL, EtcdVersion: c.EtcdVersion, At: timestamppb.Now(),
		DataDir: ownData(ctx, c.DataDir), Guard: ownGuard(ctx, p), Etcd: ownEtcd(ctx, p),
	}
	for _, g := range c.Lineage {
		ns.Lineage = append(ns.Lineage, &agentpb.Generation{Epoch: g.Epoch, ClusterId: g.ClusterID, Since: timestamppb.New(g.Since), Recovery: g.Recovery})
	}
	if h, err := durable.ReadJSON[node.Hold](p.Hold()); err == nil {
		ns.HoldId, ns.HoldReason = h.ID, h.Reason
	}
	if free, total, err := datadir.Space(c.DataDir); err == nil {
		ns.Disk = &agentpb.Disk{Free: free, Total: total}
	}
	var problems []string
	for _, crt := range pki.Inspect(p.KubernetesPKI(), p.PKI()) {
		if crt.Error != "" {
			problems = append(problems, crt.Path+": "+crt.Error)
			continue
		}
		ns.Certificates = append(ns.Certificates, &agentpb.Certificate{Path: crt.Path, Subject: crt.Subject, NotAfter: timestamppb.New(crt.NotAfter)})
	}
	ns.CertificatesError = strings.Join(problems, "; ")
	return ns
}

func ownData(ctx context.Context, dir string) *agentpb.DataDir {
	id, err := datadir.Inspect(ctx, dir, datadir.InspectOptions{})
	if err != nil {
		return &agentpb.DataDir{Path: dir, State: "unknown", Why: err.Error()}
	}
	d := &agentpb.DataDir{Path: dir, State: string(id.State), Why: id.Why, Revision: id.Revision, DbSize: id.DBSize}
	if id.ClusterID != 0 {
		d.ClusterId, d.MemberId = node.FormatID(id.ClusterID), node.FormatID(id.MemberID)
	}
	for _, m := range id.Members {
		d.Members = append(d.Members, &agentpb.Member{Id: node.FormatID(m.ID), Name: m.Name, PeerUrls: m.PeerURLs, Learner: m.IsLearner})
	}
	return d
}

// ownGuard asks the guard itself; guard.json keeps its last words.
func ownGuard(ctx context.Context, p node.Paths) *agentpb.Guard {
	g := &agentpb.Guard{}
	for _, dir := range []string{p.Manifests(), p.Stopped()} {
		raw, err := os.ReadFile(filepath.Join(dir, staticpod.EtcdFile)) //nolint:gosec // fixed names
		if err != nil {
			continue
		}
		if pod, err := staticpod.Parse(raw); err == nil {
			g.Installed = g.Installed || staticpod.IsGuarded(pod)
		}
	}
	st, err := guard.Dial(p).Status(ctx)
	if err != nil {
		g.Error = err.Error()
		if st, err = durable.ReadJSON[guard.Status](p.GuardStatus()); err != nil {
			return g
		}
		st.State = ""
	}
	g.State, g.Answer, g.Reason, g.DecidedAt = string(st.State), string(st.Decision.Answer), st.Decision.Reason, timestamppb.New(st.Decision.At)
	return g
}

// localClientURL is where kubeadm's etcd always listens for its own node.
const localClientURL = "https://127.0.0.1:2379"

func ownEtcd(ctx context.Context, p node.Paths) *agentpb.Etcd {
	e, err := askEtcd(ctx, p)
	if err != nil {
		return &agentpb.Etcd{Error: err.Error()}
	}
	return e
}

func askEtcd(ctx context.Context, p node.Paths) (*agentpb.Etcd, error) {
	tls, err := etcdclient.HealthcheckTLS(p.EtcdPKI())
	if err != nil {
		return nil, err
	}
	c, err := etcdclient.Dial([]string{localClientURL}, tls)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	st, err := c.Status(ctx, localClientURL)
	if err != nil {
		return nil, err
	}
	e := &agentpb.Etcd{
		Answers: true, HasLeader: st.Leader != 0, MemberId: node.FormatID(st.MemberID), ClusterId: node.FormatID(st.ClusterID),
		LeaderId: node.FormatID(st.Leader), Learner: st.Learner, Version: st.Version, DbSize: st.DBSize, DbInUse: st.DBInUse,
		RaftIndex: st.RaftIndex, RaftAppliedIndex: st.AppliedIndex, RaftTerm: st.RaftTerm, Revision: st.Revision, Alarms: st.Errors,
	}
	ms, err := c.Members(ctx)
	if err != nil {
		if ms, err = c.OwnMembers(ctx); err != nil {
			return e, nil //nolint:nilerr // its status is worth showing without the list
		}
	}
	e.MembersLinearizable = ms.Linearizable
	for _, m := range ms.Members {
		e.Members = append(e.Members, &agentpb.Member{Id: node.FormatID(m.ID), Name: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs, Learner: m.Learner})
	}
	return e, nil
}
