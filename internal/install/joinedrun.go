package install

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/render"
	"clusteretcd.io/ceo/internal/staticpod"
)

// Joined writes etcd's files on a node that kubeadm has joined to a cluster of `ceo render`, and says whether it did. On
// every other node it does nothing.
func Joined(ctx context.Context, o Options, name string) (bool, error) {
	f, err := joinFacts(ctx, o, name)
	if err != nil {
		return false, err
	}
	d := DecideJoin(f)
	if d.Do == JoinAsk {
		// The agents are asked with this node's own certificate, which it needs in any case.
		if _, err := pki.EnsureAgent(o.Paths, name, f.Address, time.Now()); err != nil {
			return false, err
		}
		if err := f.ask(ctx, o.Paths); err != nil {
			return false, err
		}
		d = DecideJoin(f)
	}
	switch d.Do {
	case JoinWait:
		return false, fmt.Errorf("%s is to get a member of etcd: %s", name, d.Why)
	case JoinRender:
		o.Progress("%s: %s", name, d.Why)
		return true, writeJoined(o, f, d)
	}
	return false, nil
}

// joinFacts is what this node says by itself.
func joinFacts(ctx context.Context, o Options, name string) (JoinFacts, error) {
	p := o.Paths
	f := JoinFacts{Node: name, Image: o.Image}
	for path, into := range map[string]*bool{
		filepath.Join(p.Manifests(), staticpod.EtcdFile): &f.Placed, filepath.Join(p.Stopped(), staticpod.EtcdFile): &f.Stopped,
	} {
		switch _, err := os.Stat(path); {
		case err == nil:
			*into = true
		case !errors.Is(err, fs.ErrNotExist):
			return f, fmt.Errorf("etcd's manifest: %w", err)
		}
	}
	if f.Placed || f.Stopped {
		return f, nil
	}
	raw, err := readOptional(filepath.Join(p.Manifests(), staticpod.APIServerFile))
	if err != nil || raw == nil {
		return f, err
	}
	pod, err := staticpod.Parse(raw)
	if err != nil {
		return f, fmt.Errorf("kube-apiserver's manifest: %w", err)
	}
	f.APIServer, f.Address, f.Servers = true, staticpod.FlagsOf(pod)["advertise-address"], staticpod.ServersOf(pod)
	_, err = pki.LoadCA(p.EtcdPKI())
	f.CA = err == nil
	switch _, err := os.Stat(p.GuardStatus()); {
	case err == nil:
		f.Ran = true
	case !errors.Is(err, fs.ErrNotExist):
		return f, fmt.Errorf("whether a guard has run here: %w", err)
	}
	socket, err := runtimeSocket(p, o.RuntimeSocket)
	if err != nil {
		return f, err
	}
	runtime, err := cri.Open(filepath.Join(p.Root, socket))
	if err != nil {
		return f, err
	}
	defer func() { _ = runtime.Close() }()
	limited, cancel := context.WithTimeout(ctx, perMember)
	defer cancel()
	f.ImagePresent, err = runtime.HasImage(limited, o.Image)
	return f, err
}

// ask asks etcd as this node's API server does, and the agents of its members.
func (f *JoinFacts) ask(ctx context.Context, p node.Paths) error {
	config, err := clientTLS(pki.LeafFiles(p, "apiserver-etcd-client"))
	if err != nil {
		return err
	}
	f.Asked = true
	limited, cancel := context.WithTimeout(ctx, perMember)
	defer cancel()
	lists, errs := make([]client.Membership, len(f.Servers)), make([]error, len(f.Servers))
	var wg sync.WaitGroup
	for i, s := range f.Servers {
		if staticpod.Elsewhere([]string{s}, f.Address) {
			wg.Go(func() { lists[i], errs[i] = client.Ask(limited, s, config) })
		}
	}
	wg.Wait()
	for i, l := range lists {
		switch {
		case errs[i] != nil:
			f.Silent += fmt.Sprintf("%s: %v; ", f.Servers[i], errs[i])
		case l.Linearizable:
			f.ClusterID = node.FormatID(l.ClusterID)
			f.Members = startedMembers(l.Members, f.Node)
			f.Own = slices.ContainsFunc(l.Members, func(m client.Member) bool { return m.Name == f.Node })
		}
	}
	f.askAgents(ctx, p)
	return nil
}

func startedMembers(members []client.Member, but string) []node.Peer {
	var out []node.Peer
	for _, m := range members {
		if m.Name == "" || m.Name == but || len(m.PeerURLs) == 0 || len(m.ClientURLs) == 0 {
			continue
		}
		out = append(out, node.Peer{Name: m.Name, Address: hostOf(m.ClientURLs[0], m.PeerURLs[0]), PeerURL: m.PeerURLs[0], ClientURL: m.ClientURLs[0]})
	}
	return out
}

// askAgents asks all at once, each within its own limit (P21).
func (f *JoinFacts) askAgents(ctx context.Context, p node.Paths) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, peer := range f.Members {
		wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx, 2*perMember)
			defer cancel()
			a, err := askAgent(limited, p, peer)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.Dark = append(f.Dark, err.Error())
				return
			}
			f.Agents = append(f.Agents, a)
		})
	}
	wg.Wait()
}

func askAgent(ctx context.Context, p node.Paths, peer node.Peer) (JoinAgent, error) {
	out := JoinAgent{Name: peer.Name}
	config, err := pki.ClientTLS(pki.AgentFiles(p), peer.Address)
	if err != nil {
		return out, err
	}
	conn, err := grpc.NewClient(peer.AgentAddress(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return out, fmt.Errorf("agent of %s: %w", peer.Name, err)
	}
	defer func() { _ = conn.Close() }()
	agent := agentpb.NewAgentClient(conn)
	// It learns nothing of this node here: that is for the agent that will run on it.
	who, err := agent.Identity(ctx, &agentpb.IdentityRequest{})
	if err != nil {
		return out, fmt.Errorf("agent of %s at %s: %w", peer.Name, peer.AgentAddress(), err)
	}
	state, err := agent.Inspect(ctx, &agentpb.InspectRequest{})
	if err != nil {
		return out, fmt.Errorf("agent of %s at %s: %w", peer.Name, peer.AgentAddress(), err)
	}
	var lineage node.Lineage
	for _, g := range who.GetLineage() {
		lineage = append(lineage, node.Generation{Epoch: g.GetEpoch(), ClusterID: g.GetClusterId(), Since: g.GetSince().AsTime(), Recovery: g.GetRecovery()})
	}
	if g, ok := lineage.Current(); ok {
		out.ClusterID = g.ClusterID
	}
	for _, q := range who.GetPeers() {
		out.Peers = append(out.Peers, node.Peer{Name: q.GetName(), Address: q.GetAddress(), PeerURL: q.GetPeerUrl(), ClientURL: q.GetClientUrl()})
	}
	out.ClusterName = who.GetClusterName()
	var content staticpod.Content
	if raw := state.GetRevisions().GetContent(); len(raw) > 0 {
		if err := json.Unmarshal(raw, &content); err != nil {
			return out, fmt.Errorf("agent of %s: what its etcd's manifest holds: %w", peer.Name, err)
		}
	}
	out.Image, out.Version = content.Image, content.Version
	return out, nil
}

func clientTLS(f pki.Files) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("kube-apiserver's certificate for etcd: %w", err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("etcd's CA: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// writeJoined writes what `ceo render --peer` would. Interrupted, it goes on the next time: etcd's manifest is the last.
func writeJoined(o Options, f JoinFacts, d JoinDecision) error {
	socket, err := runtimeSocket(o.Paths, o.RuntimeSocket)
	if err != nil {
		return err
	}
	ro := render.Options{
		Name: f.Node, Address: f.Address, ClusterName: d.ClusterName, EtcdImage: d.EtcdImage, CeoImage: o.Image,
		RuntimeDir: filepath.Dir(socket), CADirs: caDirs(cmp.Or(o.HostRoot, o.Paths.Root)), Peers: d.Peers, Joined: true, Now: time.Now(),
	}
	root := cmp.Or(o.Paths.Root, "/")
	have, data, err := render.Look(root, ro)
	if err != nil {
		return err
	}
	if data != "" {
		// Where it is seen at all (the installer's Pod does not). The guard decides what it is worth, and starts nothing by
		// itself on it.
		o.Progress("%s: etcd's data dir holds %s already: the guard decides what it is", f.Node, data)
		data = ""
	}
	files, err := render.Render(ro, have, data)
	if err != nil {
		return err
	}
	written, err := render.Write(root, files, have)
	for _, w := range written {
		o.Progress("%s: wrote %s", f.Node, w)
	}
	return err
}
