// Package agent is what runs on each control-plane node and is the only thing
// that touches it. It needs no API server: neither to start, nor to be asked,
// nor to bring a dead control plane back.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/recovery"
)

// Agent serves one node.
type Agent struct {
	agentpb.UnimplementedAgentServer

	paths   node.Paths
	version string
	log     *slog.Logger
	pool    *client.Pool
	cri     *cri.Runtime
	etcd    *ownEtcd
	started time.Time

	mu       sync.Mutex // guards what follows
	config   node.Config
	conflict string
	// observed is what the last plan was made of.
	observed recovery.Observation
	// heard is when each peer's agent answered last.
	heard map[string]time.Time

	act      sync.Mutex // one change of the node at a time
	pkiFiles sync.Mutex // one change of etcd's certificates and CA at a time
	loaded   sync.Mutex // guards loaded.json
	life     func() time.Duration
	recover  recoveries
	verified verifiedCache
	measures *measures
	// metricsAddress is where they are served.
	metricsAddress string
	own            string // Options.Own
	// options are those that it was made with.
	options Options
}

// Options of an agent.
type Options struct {
	Paths     node.Paths
	Version   string
	CRISocket string
	Log       *slog.Logger
	// MetricsAddress for /metrics, /healthz and /readyz; "" and "0" serve nothing.
	MetricsAddress string
	// Own is the one address that the agent serves on, and where this node's etcd is: several nodes on one machine have one
	// each. "": all addresses, and etcd on the node's loopback, as kubeadm has it.
	Own string
	// LeafLife is how long certificates that are issued here last, asked before each look; 0: as built in, and what lives
	// longer is left. nil: what was placed of the specification says so.
	LeafLife func() time.Duration
	// Interfaces are the addresses of the node's interfaces; nil: those of this network.
	Interfaces func() ([]string, error)
	// Listen makes the listener of the agent's port; nil: at all addresses, as a node's can change (P20).
	Listen func() (net.Listener, error)
}

// New reads what the node knows of itself.
func New(o Options) (*Agent, error) {
	cfg, err := node.Load(o.Paths)
	if err != nil {
		return nil, err
	}
	if o.LeafLife == nil {
		o.LeafLife = placedLeafLife(o)
	}
	renewCertificates(o, cfg, o.LeafLife(), nil)
	rt, err := cri.Open(o.CRISocket)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		paths: o.Paths, version: o.Version, log: o.Log, config: cfg, cri: rt,
		pool: client.NewPool(pki.AgentFiles(o.Paths)), life: o.LeafLife, started: time.Now(),
		heard: map[string]time.Time{},
		etcd:  newOwnEtcd(o.Paths.EtcdPKI(), o.Own), own: o.Own, options: o,
	}
	a.measures, a.metricsAddress = newMeasures(a), o.MetricsAddress
	a.recover.agent, a.recover.wake = a, make(chan struct{}, 1)
	return a, nil
}

// Run serves until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	defer func() {
		_ = a.pool.Close()
		_ = a.cri.Close()
		_ = a.etcd.Close()
	}()
	tls, err := pki.ServerTLS(a.paths)
	if err != nil {
		return fmt.Errorf("certificates of the agent: %w", err)
	}
	cfg := a.Config()
	remote := grpc.NewServer(append(serverOptions(), a.measures.counting(), grpc.Creds(credentials.NewTLS(tls)))...)
	local := grpc.NewServer(append(serverOptions(), a.measures.counting())...)
	agentpb.RegisterAgentServer(remote, a)
	agentpb.RegisterAgentServer(local, a)

	// All addresses: a node's address can change while the agent runs (P20),
	// and nobody without a certificate gets further than the handshake.
	listen := a.options.Listen
	if listen == nil {
		listen = func() (net.Listener, error) {
			return net.Listen("tcp", net.JoinHostPort(a.own, strconv.Itoa(node.AgentPort))) //nolint:gosec // as said above
		}
	}
	tcp, err := listen()
	if err != nil {
		return fmt.Errorf("agent's port: %w", err)
	}
	unix, err := a.listenSocket()
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	// Before anybody can ask for them. Journals that cannot be read do not keep
	// the agent from serving: a person has to be able to ask what is wrong.
	if err := a.recover.load(); err != nil {
		a.log.Error("the recovery journals cannot be read; nothing is resumed", "error", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return remote.Serve(tcp) })
	g.Go(func() error { return local.Serve(unix) })
	g.Go(func() error { return a.watchPeers(ctx) })
	g.Go(func() error { return a.watchEtcd(ctx) })
	g.Go(func() error { return a.recover.run(ctx) })
	g.Go(func() error { return a.measures.serve(ctx, a.metricsAddress) })
	g.Go(func() error { return a.watchCertificates(ctx, a.options) })
	g.Go(func() error { return a.watchAddress(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		remote.Stop()
		local.Stop()
		return nil
	})
	a.log.Info("agent serves", "node", cfg.Name, "version", a.version, "port", node.AgentPort, "socket", a.paths.AgentSocket(), "after", time.Since(a.started).String())
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(unaryAuth), grpc.StreamInterceptor(streamAuth),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}),
	}
}

// listenSocket makes the root-only socket. One that a killed agent left is
// removed: there is one agent on a node, and the port above is already ours.
func (a *Agent) listenSocket() (net.Listener, error) {
	if err := durable.MkdirAll(a.paths.Run(), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(a.paths.AgentSocket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the former agent's socket: %w", err)
	}
	l, err := net.Listen("unix", a.paths.AgentSocket())
	if err != nil {
		return nil, fmt.Errorf("agent's socket: %w", err)
	}
	if err := os.Chmod(a.paths.AgentSocket(), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Config is what the node knows of itself now.
func (a *Agent) Config() node.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}

func (a *Agent) lineageConflict() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conflict
}

// update changes node.json: on disk first, then in memory.
func (a *Agent) update(f func(node.Config) (node.Config, bool, error)) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, changed, err := f(a.config)
	if err != nil || !changed {
		return false, err
	}
	if err := node.Save(a.paths, c); err != nil {
		return false, fmt.Errorf("record in node.json: %w", err)
	}
	a.config = c
	return true, nil
}
