package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
)

// scripted is an agent that says what a test wants, over a real socket: what is
// tested is what the verbs make of it, and of its death.
type scripted struct {
	agentpb.UnimplementedAgentServer
	t     *testing.T
	paths node.Paths

	mu      sync.Mutex
	server  *grpc.Server
	plan    *agentpb.Plan
	planErr error
	runErr  error
	events  []*agentpb.RecoveryEvent
	ended   bool
	// dieAfter so many events of a stream the agent is killed, once.
	dieAfter int
	// opened gets a word for each stream.
	opened chan struct{}
	nodes  []*agentpb.NodeState
	ran    *agentpb.RunRecoveryRequest
	put    int
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	root, err := os.MkdirTemp("", "ceo") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	s := &scripted{t: t, paths: node.Paths{Root: root}, opened: make(chan struct{}, 8)}
	if err := os.MkdirAll(s.paths.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	s.serve()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *scripted) serve() {
	l, err := net.Listen("unix", s.paths.AgentSocket())
	if err != nil {
		s.t.Error(err)
		return
	}
	server := grpc.NewServer()
	agentpb.RegisterAgentServer(server, s)
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

func (s *scripted) stop() {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	server.Stop()
}

func (s *scripted) Observe(context.Context, *agentpb.ObserveRequest) (*agentpb.Observation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &agentpb.Observation{ClusterName: "prod", Coordinator: "cp-1", Nodes: s.nodes, At: timestamppb.Now()}, nil
}

func (s *scripted) Inspect(context.Context, *agentpb.InspectRequest) (*agentpb.NodeState, error) {
	return &agentpb.NodeState{Name: "cp-1"}, nil
}

func (s *scripted) PlanRecovery(context.Context, *agentpb.PlanRecoveryRequest) (*agentpb.Plan, error) {
	return s.plan, s.planErr
}

func (s *scripted) PutSnapshot(grpc.ClientStreamingServer[agentpb.SnapshotChunk, agentpb.SnapshotInfo]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put++
	return status.Error(codes.Unimplemented, "not here")
}

func (s *scripted) RunRecovery(_ context.Context, req *agentpb.RunRecoveryRequest) (*agentpb.Recovery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran = req
	return &agentpb.Recovery{Id: "r1", State: "running"}, s.runErr
}

func (s *scripted) ResumeRecovery(context.Context, *agentpb.ResumeRecoveryRequest) (*agentpb.Recovery, error) {
	return &agentpb.Recovery{Id: "r1", State: "running"}, nil
}

func (s *scripted) WatchRecovery(_ *agentpb.WatchRecoveryRequest, out grpc.ServerStreamingServer[agentpb.RecoveryEvent]) error {
	s.mu.Lock()
	die := s.dieAfter
	s.dieAfter = 0
	s.mu.Unlock()
	select {
	case s.opened <- struct{}{}:
	default:
	}
	for i, e := range s.events {
		if die > 0 && i == die {
			go func() {
				s.stop()
				s.serve()
			}()
			<-out.Context().Done()
			return out.Context().Err()
		}
		if err := out.Send(e); err != nil {
			return err
		}
	}
	if !s.ended {
		<-out.Context().Done()
	}
	return nil
}

func event(kind, step, node string, rec *agentpb.Recovery) *agentpb.RecoveryEvent {
	return &agentpb.RecoveryEvent{At: timestamppb.Now(), Kind: kind, Step: step, Node: node, Recovery: rec}
}

var goodPlan = &agentpb.Plan{
	Id: "5f3a-c21e", ClusterName: "prod", Diagnosis: "quorum lost",
	Steps: []*agentpb.Step{{Id: "start", Node: "cp-1", Text: "start", PointOfNoReturn: true}, {Id: "join/cp-2", Node: "cp-2", Text: "when it comes back: join"}},
	Risks: []*agentpb.Risk{{Name: "rollback", Text: "the cluster lives"}},
}

// verb is one run of `ceo recover` and what it wrote.
type verb struct {
	out, err bytes.Buffer
	code     int
	failure  error
}

func (s *scripted) recover(o RecoverOptions, do func(context.Context, Streams, RecoverOptions) error) *verb {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	v := &verb{}
	o.Target.Paths = s.paths
	v.failure = do(ctx, Streams{In: strings.NewReader(""), Out: &v.out, Err: &v.err, Name: "ceo"}, o)
	v.code = CodeOf(v.failure)
	if v.failure != nil {
		Report(&v.err, "ceo", v.failure, false)
	}
	return v
}

// fastRecover is Recover with the waits of a test.
func fastRecover(ctx context.Context, s Streams, o RecoverOptions) error {
	return fast(ctx, s, o, func(r *recoverer) error {
		p, err := r.plan(ctx, &agentpb.PlanRecoveryRequest{})
		if err != nil {
			return err
		}
		rec, err := r.start(ctx, &agentpb.PlanRecoveryRequest{}, p)
		if err != nil {
			return err
		}
		return r.watch(ctx, rec, p.Dark(), r.begun)
	})
}

func fast(_ context.Context, s Streams, o RecoverOptions, f func(*recoverer) error) error {
	r, done, err := newRecoverer(s, o)
	if err != nil {
		return err
	}
	defer done()
	r.pace = pace{back: 5 * time.Second, retry: 10 * time.Millisecond, quiet: 50 * time.Millisecond, dark: 30 * time.Millisecond}
	return f(r)
}

func consent() RecoverOptions {
	return RecoverOptions{Yes: true, Confirm: "prod", Accept: []string{"rollback"}, Follow: UntilDone}
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
