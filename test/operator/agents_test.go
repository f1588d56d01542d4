//go:build integration

package operator_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// host is a node's files, its etcd, and its addresses.
type host struct {
	name    string
	address string
	paths   node.Paths
	etcd    *etcdtest.Member
	pki     *etcdtest.PKI
}

func (w *world) newHost(t testing.TB, name, address string) *host {
	t.Helper()
	root, err := os.MkdirTemp("", "ceo") // a socket's path must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	h := &host{name: name, address: address, paths: node.Paths{Root: root}}
	h.pki = w.kubeadmPKI(t, h.paths)
	must(t, os.MkdirAll(h.paths.State(), 0o700))
	must(t, os.MkdirAll(h.paths.Run(), 0o700))
	must(t, os.MkdirAll(h.paths.Backups(), 0o700))
	must(t, os.MkdirAll(filepath.Dir(h.paths.EtcdBinary()), 0o700))
	must(t, os.Symlink(filepath.Join(etcdtest.BinDir(t), "etcd"), h.paths.EtcdBinary()))
	h.etcd = etcdtest.NewMember(t, name, filepath.Join(root, "var/lib/etcd"), h.pki)
	h.etcd.ClientURL = "https://" + net.JoinHostPort(address, "2379")
	h.etcd.PeerURL = "https://" + net.JoinHostPort(address, "2380")
	return h
}

func (h *host) config(others ...*host) node.Config {
	c := node.Config{
		Name: h.name, ClusterName: "test", Address: h.address, PeerURL: h.etcd.PeerURL, ClientURL: h.etcd.ClientURL, DataDir: h.etcd.DataDir,
	}
	for _, o := range others {
		if o != h {
			c, _ = c.WithPeer(node.Peer{Name: o.name, Address: o.address, PeerURL: o.etcd.PeerURL, ClientURL: o.etcd.ClientURL})
		}
	}
	return c
}

// runAgent runs the real agent of a node until the test ends.
func (h *host) runAgent(t *testing.T) {
	t.Helper()
	must(t, node.Save(h.paths, h.config()))
	a, err := agent.New(agent.Options{Paths: h.paths, Version: "test", CRISocket: filepath.Join(h.paths.Root, "none.sock"), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the agent of %s: %v", h.name, err)
		}
	})
}

// double is an agent that describes a real etcd, and that a test can make hang, vanish, or say that a recovery is open.
type double struct {
	agentpb.UnimplementedAgentServer
	*host
	server *grpc.Server

	mu       sync.Mutex
	hang     bool
	looks    int
	recovery *agentpb.Recovery   // open
	ended    []*agentpb.Recovery // oldest first
	lineage  []*agentpb.Generation
	created  int
	settings *agentpb.Settings
	// dieAfterBackup breaks the stream once the backup is made and before anybody is told.
	dieAfterBackup bool
	// hold is the id of the hold on its etcd; calls are those of maintenance.
	hold  string
	calls []string
	move  func(context.Context, uint64) (*clientv3.MoveLeaderResponse, error)
}

// newCluster3 brings three nodes up, with a real etcd and a double each.
func (w *world) newCluster3(t *testing.T) []*double {
	t.Helper()
	var hosts []*host
	initial := ""
	for i := range 3 {
		h := w.newHost(t, "cp-"+strconv.Itoa(i+1), "10.99.0.1"+strconv.Itoa(i+1))
		hosts = append(hosts, h)
		if i > 0 {
			initial += ","
		}
		initial += h.name + "=" + h.etcd.PeerURL
	}
	for _, h := range hosts {
		h.etcd.Start(t, "--initial-cluster="+initial, "--initial-cluster-token="+t.Name(), "--initial-cluster-state=new")
	}
	var out []*double
	for _, h := range hosts {
		h.etcd.WaitHealthy(t)
		must(t, node.Save(h.paths, h.config(hosts...)))
		_, err := pki.EnsureAgent(h.paths, h.name, h.address, time.Now())
		must(t, err)
		d := &double{host: h}
		d.serve(t)
		w.newNode(t, h.name, h.address)
		out = append(out, d)
	}
	return out
}

func (d *double) serve(t *testing.T) { t.Helper(); d.serveAs(t, d) }

func (d *double) serveAs(t *testing.T, as agentpb.AgentServer) {
	t.Helper()
	tls, err := pki.ServerTLS(d.paths)
	must(t, err)
	l, err := net.Listen("tcp", net.JoinHostPort(d.address, strconv.Itoa(node.AgentPort)))
	must(t, err)
	d.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(tls)))
	agentpb.RegisterAgentServer(d.server, as)
	go func() { _ = d.server.Serve(l) }()
	t.Cleanup(d.server.Stop)
}

func (d *double) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *double) lookCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.looks
}

func (d *double) Inspect(ctx context.Context, _ *agentpb.InspectRequest) (*agentpb.NodeState, error) {
	d.mu.Lock()
	hang := d.hang
	d.looks++
	s := &agentpb.NodeState{Name: d.name, Address: d.address, PeerUrl: d.etcd.PeerURL, ClientUrl: d.etcd.ClientURL, At: timestamppb.Now(), Lineage: d.lineage, Settings: d.settings, HoldId: d.hold}
	if d.recovery != nil {
		s.Recovery = proto.CloneOf(d.recovery)
	}
	d.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	s.Etcd = d.ask(ctx)
	for _, c := range pki.Inspect(d.paths.KubernetesPKI()) {
		s.Certificates = append(s.Certificates, &agentpb.Certificate{Path: c.Path, Subject: c.Subject, NotAfter: timestamppb.New(c.NotAfter)})
	}
	return s, nil
}

// ask is what the agent's own look at its etcd comes to, of a real etcd.
func (d *double) ask(ctx context.Context) *agentpb.Etcd {
	out := &agentpb.Etcd{}
	ctx, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
	defer cancel()
	fail := func(err error) *agentpb.Etcd {
		out.Error = err.Error()
		return out
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(d.address, "2379"))
	if err != nil {
		return fail(err)
	}
	_ = conn.Close()
	tls, err := etcdclient.HealthcheckTLS(d.paths.EtcdPKI())
	if err != nil {
		return fail(err)
	}
	c, err := etcdclient.Dial([]string{d.etcd.ClientURL}, tls)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = c.Close() }()
	st, err := c.Status(ctx, d.etcd.ClientURL)
	if err != nil {
		return fail(err)
	}
	out.Answers, out.HasLeader, out.Learner = true, st.Leader != 0, st.Learner
	out.MemberId, out.ClusterId, out.LeaderId = node.FormatID(st.MemberID), node.FormatID(st.ClusterID), node.FormatID(st.Leader)
	out.Version, out.DbSize, out.DbInUse, out.RaftAppliedIndex, out.Revision, out.Alarms = st.Version, st.DBSize, st.DBInUse, st.AppliedIndex, st.Revision, st.Errors
	m, err := c.Members(ctx)
	if err != nil {
		if m, err = c.OwnMembers(ctx); err != nil {
			return fail(err)
		}
	}
	out.MembersLinearizable = m.Linearizable
	for _, x := range m.Members {
		out.Members = append(out.Members, &agentpb.Member{Id: node.FormatID(x.ID), Name: x.Name, PeerUrls: x.PeerURLs, ClientUrls: x.ClientURLs, Learner: x.Learner})
	}
	return out
}

func (d *double) WatchRecovery(req *agentpb.WatchRecoveryRequest, s grpc.ServerStreamingServer[agentpb.RecoveryEvent]) error {
	d.mu.Lock()
	var found *agentpb.Recovery
	for _, r := range d.ended {
		if req.GetId() == "" || req.GetId() == r.GetId() {
			found = r
		}
	}
	open := d.recovery
	d.mu.Unlock()
	if open != nil && (req.GetId() == "" || req.GetId() == open.GetId()) {
		if err := s.Send(&agentpb.RecoveryEvent{At: timestamppb.Now(), Kind: "open", Recovery: open}); err != nil {
			return err
		}
		<-s.Context().Done() // as the real one: it goes on while the recovery does
		return nil
	}
	if found == nil {
		return status.Error(codes.NotFound, "no recovery was ever run from this node")
	}
	return s.Send(&agentpb.RecoveryEvent{At: timestamppb.Now(), Kind: "end", Text: found.GetState(), Recovery: found})
}

func (d *double) keeper() keep.Keeper { return keep.Keeper{Paths: d.paths, Version: "test"} }

func (d *double) PlaceSettings(_ context.Context, req *agentpb.PlaceSettingsRequest) (*agentpb.PlaceSettingsReply, error) {
	d.set(func() { d.settings = req.GetSettings() })
	return &agentpb.PlaceSettingsReply{Changed: true}, nil
}

func (d *double) CreateBackup(_ *agentpb.CreateBackupRequest, s grpc.ServerStreamingServer[agentpb.BackupEvent]) error {
	m, err := d.keeper().Create(s.Context(), true, func(string, int64, int64) {})
	if err != nil {
		return status.Error(codes.Unknown, err.Error())
	}
	d.mu.Lock()
	d.created++
	die := d.dieAfterBackup
	d.dieAfterBackup = false
	d.mu.Unlock()
	if die {
		return status.Error(codes.Unavailable, "transport is closing")
	}
	return send(s, m)
}

func (d *double) ProveBackup(req *agentpb.BackupRequest, s grpc.ServerStreamingServer[agentpb.BackupEvent]) error {
	v, err := d.keeper().Prove(s.Context(), req.GetName(), keep.ProveOptions{}, func(string, int64, int64) {})
	if err != nil {
		return status.Error(codes.Unknown, err.Error())
	}
	return send(s, v)
}

func (d *double) ListBackups(ctx context.Context, _ *agentpb.ListBackupsRequest) (*agentpb.ListBackupsReply, error) {
	l, err := d.keeper().List(ctx)
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	b, err := json.Marshal(l)
	return &agentpb.ListBackupsReply{Listing: b}, err
}

func (d *double) PruneBackups(ctx context.Context, req *agentpb.PruneBackupsRequest) (*agentpb.PruneBackupsReply, error) {
	var ps backup.Policies
	if len(req.GetRetention()) > 0 {
		var err error
		if ps, err = backup.ParsePolicies(req.GetRetention()); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	p, err := d.keeper().PruneAs(ctx, keep.PruneOptions{Dry: req.GetDryRun(), Retention: ps, Store: req.GetStore()})
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	b, err := json.Marshal(p)
	return &agentpb.PruneBackupsReply{Decision: b}, err
}

func send(s grpc.ServerStreamingServer[agentpb.BackupEvent], v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.Send(&agentpb.BackupEvent{Result: b})
}
