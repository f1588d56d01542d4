//go:build integration

package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/revision"
	"clusteretcd.io/ceo/internal/staticpod"
)

// rolling is a double that keeps revisions with the real code, and whose kubelet restarts the real etcd for a manifest
// that changed. A revision whose reason says that it is broken has a flag that etcd does not know.
type rolling struct {
	*double
	t     *testing.T
	shelf revision.Shelf
	all   *[]*rolling

	state   sync.Mutex
	running string
	begun   time.Time
	// restarts of the kubelet, by revision; wrong is what must never happen.
	restarts []string
	led      []bool // whether it led when its manifest was placed
	wrong    []string
}

func (w *world) newRolling3(t *testing.T) ([]*rolling, func()) {
	t.Helper()
	var hosts []*host
	var initial []string
	for i := range 3 {
		h := w.newHost(t, "cp-"+strconv.Itoa(i+1), "10.99.0.1"+strconv.Itoa(i+1))
		hosts, initial = append(hosts, h), append(initial, h.name+"="+h.etcd.PeerURL)
	}
	raw, err := os.ReadFile("../../internal/staticpod/testdata/etcd-guarded.golden")
	must(t, err)
	var out []*rolling
	for _, h := range hosts {
		must(t, durable.MkdirAll(h.paths.Manifests(), 0o700))
		must(t, staticpod.Place(h.paths.Manifests(), staticpod.EtcdFile, raw))
		h.etcd.Args = []string{"--initial-cluster=" + strings.Join(initial, ","), "--initial-cluster-token=" + t.Name(), "--initial-cluster-state=new"}
		h.etcd.Start(t)
		out = append(out, &rolling{double: &double{host: h}, t: t, shelf: revision.Shelf{Paths: h.paths}, all: &out})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, r := range out {
		r.etcd.WaitHealthy(t)
		must(t, node.Save(r.paths, r.config(hosts...)))
		_, err := pki.EnsureAgent(r.paths, r.name, r.address, time.Now())
		must(t, err)
		p, err := r.shelf.Present()
		must(t, err)
		r.running, r.begun = p.Revision, time.Now()
		r.serveRolling(t)
		w.newNode(t, r.name, r.address)
		wg.Go(func() { r.kubelet(ctx) })
	}
	return out, func() { cancel(); wg.Wait() }
}

func (r *rolling) serveRolling(t *testing.T) {
	t.Helper()
	tls, err := pki.ServerTLS(r.paths)
	must(t, err)
	l, err := net.Listen("tcp", net.JoinHostPort(r.address, strconv.Itoa(node.AgentPort)))
	must(t, err)
	r.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(tls)))
	agentpb.RegisterAgentServer(r.server, r)
	go func() { _ = r.server.Serve(l) }()
	t.Cleanup(r.server.Stop)
}

// kubelet runs what lies in its folder.
func (r *rolling) kubelet(ctx context.Context) {
	for ctx.Err() == nil {
		if p, err := r.shelf.Present(); err == nil && p.Revision != r.runs() {
			r.etcd.Stop(r.t)
			flags := []string{"--quota-backend-bytes=" + strconv.FormatInt(p.Content.QuotaBytes, 10)}
			if strings.Contains(p.Content.Reason, "broken") {
				flags = append(flags, "--no-such-flag")
			}
			r.etcd.Start(r.t, flags...)
			r.state.Lock()
			r.running = p.Revision
			r.restarts = append(r.restarts, p.Revision)
			r.state.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (r *rolling) runs() string {
	r.state.Lock()
	defer r.state.Unlock()
	return r.running
}

func (r *rolling) restartCount() int {
	r.state.Lock()
	defer r.state.Unlock()
	return len(r.restarts)
}

func (r *rolling) Inspect(ctx context.Context, req *agentpb.InspectRequest) (*agentpb.NodeState, error) {
	s, err := r.double.Inspect(ctx, req)
	if err != nil {
		return nil, err
	}
	r.state.Lock()
	defer r.state.Unlock()
	p, err := r.shelf.Present()
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	e := s.GetEtcd()
	if err := r.shelf.Note(p.Revision, e.GetAnswers() && e.GetHasLeader() && r.running == p.Revision, revision.Now()); err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	x, err := r.shelf.Index()
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	content, err := json.Marshal(p.Content)
	s.Revisions = &agentpb.Revisions{
		Placed: p.Revision, Running: r.running, PlacedForMs: x.PlacedFor(revision.Now()).Milliseconds(), Ill: x.Ill,
		LastGood: x.LastGood, RolledBackFrom: x.RolledBackFrom, Kept: x.Kept, Content: content,
	}
	return s, err
}

func (r *rolling) PlaceRevision(ctx context.Context, req *agentpb.PlaceRevisionRequest) (*agentpb.PlaceRevisionReply, error) {
	e := r.ask(ctx)
	for _, o := range *r.all {
		p, err := o.shelf.Present()
		if err != nil || o != r && p.Revision != o.runs() {
			r.violated("%s was restarted while %s was under way", r.name, o.name)
		}
		// A roll-back is of a member that is down already.
		if oe := o.ask(ctx); o != r && !req.GetRollBack() && (!oe.GetAnswers() || !oe.GetHasLeader()) {
			if strings.Contains(oe.GetError(), "connection refused") {
				r.violated("%s was restarted while %s was down: %s", r.name, o.name, oe.GetError())
			}
			// As the real agent does under the lock: a time-out on a busy machine is not a death, and not health either (I23).
			return nil, status.Errorf(codes.FailedPrecondition, "%s is not seen to be healthy: %s", o.name, oe.GetError())
		}
	}
	if strings.Contains(string(req.GetContent()), "missing") {
		return nil, status.Error(codes.NotFound, "pull image: not found")
	}
	r.state.Lock()
	defer r.state.Unlock()
	var p revision.Plan
	c, err := staticpod.ParseContent(req.GetContent())
	if req.GetRollBack() {
		p, err = r.shelf.PlanBack()
	} else if err == nil {
		p, err = r.shelf.Plan(c)
	}
	if err == nil && !p.Already {
		r.led = append(r.led, e.GetLeaderId() == e.GetMemberId() && e.GetHasLeader())
		err = r.shelf.Place(p, req.GetIll(), revision.Now())
	}
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &agentpb.PlaceRevisionReply{Revision: p.Revision}, nil
}

func (r *rolling) violated(format string, args ...any) {
	r.state.Lock()
	defer r.state.Unlock()
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// ChangeMembers hands the leadership over, and nothing else.
func (r *rolling) ChangeMembers(ctx context.Context, req *agentpb.ChangeMembersRequest) (*agentpb.ChangeMembersReply, error) {
	to, err := strconv.ParseUint(req.GetTo(), 16, 64)
	if err != nil || req.GetKind() != "move-leader" {
		return nil, status.Errorf(codes.InvalidArgument, "%s to %q", req.GetKind(), req.GetTo())
	}
	c := r.etcd.Client(r.t)
	if _, err := c.MoveLeader(ctx, to); err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	return &agentpb.ChangeMembersReply{}, nil
}

func waitRestarts(t *testing.T, nodes []*rolling, want int) {
	t.Helper()
	etcdtest.Eventually(t, fmt.Sprintf("%d restarts", want), func() (bool, string) {
		n := 0
		for _, r := range nodes {
			n += r.restartCount()
		}
		return n >= want, strconv.Itoa(n)
	})
}

func noneWrong(t *testing.T, nodes []*rolling) {
	t.Helper()
	for _, r := range nodes {
		r.state.Lock()
		for _, x := range r.wrong {
			t.Errorf("I6, P22: %s", x)
		}
		for _, led := range r.led {
			if led {
				t.Errorf("%s was restarted while it led", r.name)
			}
		}
		r.state.Unlock()
	}
}

func (w *world) kubeconfig(t *testing.T) string {
	t.Helper()
	c := w.api.Config
	raw, err := json.Marshal(map[string]any{
		"current-context": "c", "contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "k", "user": "u"}}},
		"clusters": []any{map[string]any{"name": "k", "cluster": map[string]any{"server": c.Host, "certificate-authority-data": c.CAData, "certificate-authority": c.CAFile}}},
		"users": []any{map[string]any{"name": "u", "user": map[string]any{
			"token": c.BearerToken, "client-certificate-data": c.CertData, "client-key-data": c.KeyData, "client-certificate": c.CertFile, "client-key": c.KeyFile,
		}}},
	})
	must(t, err)
	path := filepath.Join(t.TempDir(), "admin.conf")
	must(t, os.WriteFile(path, raw, 0o600))
	return path
}
