package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/kubelet"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/recovery/engine"
	"clusteretcd.io/ceo/internal/staticpod"
)

// Limits of what is done to a node.
const (
	holdLimit  = 30 * time.Second
	goneLimit  = 60 * time.Second
	startLimit = 150 * time.Second
	// kickAfter is when a kubelet that has not started what was put back is
	// restarted: it may be in a back-off, or stuck on a dead API server.
	kickAfter = 20 * time.Second
	// grace for kube-apiserver and its companions: none. They hold nothing that
	// is not in etcd, and draining what they are asked for would keep the API
	// down for longer. An etcd without a guard gets it too: its WAL is crash-safe.
	grace = 0 * time.Second
)

// ports that must be free before a component counts as stopped (P10).
var ports = map[string]string{"kube-apiserver": "6443", "kube-controller-manager": "10257", "kube-scheduler": "10259"}

// HoldEtcd implements agentpb.AgentServer.
func (a *Agent) HoldEtcd(ctx context.Context, req *agentpb.HoldEtcdRequest) (*agentpb.HoldEtcdReply, error) {
	if req.GetId() == "" {
		return nil, status.Error(codes.InvalidArgument, "a hold needs an id")
	}
	a.act.Lock()
	defer a.act.Unlock()
	hold := node.Hold{ID: req.GetId(), Reason: req.GetReason(), Since: time.Now().UTC(), Fast: req.GetFast()}
	if err := a.takeOver(req.GetTakesOver(), hold); err != nil {
		return nil, toStatus(err)
	}
	how, err := a.holdEtcd(ctx, hold)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.HoldEtcdReply{How: how}, nil
}

// takeOver puts a hold in the place of another recovery's, without a moment in
// between in which etcd could start.
func (a *Agent) takeOver(recoveryID string, h node.Hold) error {
	old, err := durable.ReadJSON[node.Hold](a.paths.Hold())
	if recoveryID == "" || err != nil || old.ID != engine.HoldID(recoveryID) {
		return nil //nolint:nilerr // no hold, or one that holdEtcd refuses to replace
	}
	a.log.Warn("another recovery's hold is taken over, as a person said that its coordinator is gone", "old", old.ID, "new", h.ID)
	return durable.WriteJSON(a.paths.Hold(), h, 0o600)
}

// holdEtcd stops etcd and keeps it stopped, and returns once it is gone. With
// a guard neither kubelet nor manifest is touched. The hold is on disk first,
// so that a guard that starts meanwhile, for whatever reason, finds it.
func (a *Agent) holdEtcd(ctx context.Context, h node.Hold) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, holdLimit)
	defer cancel()
	_, err := guard.HoldAndWait(ctx, a.paths, h)
	if err == nil {
		return "guard", nil
	}
	if !errors.Is(err, guard.ErrNoGuard) {
		return "", err
	}
	if a.guarded() {
		// The container is down or in a back-off: the hold on disk keeps it so.
		return "containers", a.cri.StopStatic(ctx, []string{"etcd"}, grace)
	}
	return "containers", a.stopUnguarded(ctx)
}

// stopUnguarded is the long way for a manifest without guard. The kubelet goes
// first: it acts on a changed folder late, or not at all, when its API server
// is gone.
func (a *Agent) stopUnguarded(ctx context.Context) error {
	running, err := kubelet.State(ctx)
	if err != nil {
		return fmt.Errorf("etcd here has no guard, so the kubelet must be stopped first: %w", err)
	}
	if err := kubelet.Stop(ctx); err != nil {
		return err
	}
	err = staticpod.TakeOut(a.paths.Manifests(), staticpod.EtcdFile, a.paths.Stopped())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = a.cri.StopStatic(ctx, []string{"etcd"}, grace)
	}
	if running == "active" {
		err = errors.Join(err, kubelet.Start(ctx))
	}
	return err
}

// ReleaseEtcd implements agentpb.AgentServer.
func (a *Agent) ReleaseEtcd(ctx context.Context, req *agentpb.ReleaseEtcdRequest) (*agentpb.ReleaseEtcdReply, error) {
	a.act.Lock()
	defer a.act.Unlock()
	if err := a.releaseEtcd(ctx, req.GetId()); err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.ReleaseEtcdReply{}, nil
}

// releaseEtcd ends the hold; what starts then is the guard's decision. Where no
// guard runs, the kubelet has to start it: it may be stopped, or in a back-off.
func (a *Agent) releaseEtcd(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := guard.ReleaseAndPoke(ctx, a.paths, id)
	if err == nil {
		return nil
	}
	if !errors.Is(err, guard.ErrNoGuard) {
		return err
	}
	if exists(filepath.Join(a.paths.Stopped(), staticpod.EtcdFile)) {
		if err := staticpod.PutBack(a.paths.Manifests(), staticpod.EtcdFile, a.paths.Stopped()); err != nil {
			return err
		}
	}
	return a.untilRunning(ctx, []string{"etcd"})
}

// untilRunning waits until the kubelet has started the pods, and helps it: a
// stopped one is started, one that does nothing is restarted once.
func (a *Agent) untilRunning(ctx context.Context, names []string) error {
	if err := kubelet.Start(ctx); err != nil {
		a.log.Warn("the kubelet cannot be asked", "error", err)
	}
	begun, kicked := time.Now(), false
	for {
		cs, err := a.cri.List(ctx)
		var missing []string
		if err == nil {
			for _, n := range names {
				if len(cri.RunningStatic(cs, n)) == 0 {
					missing = append(missing, n)
				}
			}
			if len(missing) == 0 {
				return nil
			}
		}
		if time.Since(begun) > kickAfter && !kicked {
			kicked = true
			a.log.Warn("the kubelet has not started what was put back: it is restarted", "pods", missing)
			if err := kubelet.Restart(ctx); err != nil {
				a.log.Warn("restart the kubelet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the kubelet to start %s: %w; see `journalctl -u kubelet`", strings.Join(missing, ", "), errors.Join(ctx.Err(), err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func checkComponents(names []string) error {
	if len(names) == 0 {
		return status.Error(codes.InvalidArgument, "no component named")
	}
	for _, n := range names {
		if !slices.Contains(engine.Components, n) {
			return status.Errorf(codes.InvalidArgument, "%q is not a component that can be taken out of service: %s", n, strings.Join(engine.Components, ", "))
		}
	}
	return nil
}

// StopComponents implements agentpb.AgentServer.
func (a *Agent) StopComponents(ctx context.Context, req *agentpb.StopComponentsRequest) (*agentpb.StopComponentsReply, error) {
	if err := checkComponents(req.GetComponents()); err != nil {
		return nil, err
	}
	a.act.Lock()
	defer a.act.Unlock()
	if err := a.stopComponents(ctx, req.GetComponents()); err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.StopComponentsReply{}, nil
}

// stopComponents takes them out of service: the manifests away, the containers
// ended through the CRI, as the kubelet takes half a minute or for ever, and
// both seen to be gone.
func (a *Agent) stopComponents(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, goneLimit)
	defer cancel()
	for _, n := range names {
		if err := staticpod.TakeOut(a.paths.Manifests(), n+".yaml", a.paths.Stopped()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take %s out of service: %w", n, err)
		}
	}
	if err := a.cri.StopStatic(ctx, names, grace); err != nil {
		return err
	}
	for _, n := range names {
		if err := untilFree(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func untilFree(ctx context.Context, component string) error {
	address := net.JoinHostPort("127.0.0.1", ports[component])
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		// Only a refusal proves that nobody listens; a time-out proves nothing.
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		if conn != nil {
			_ = conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the port %s of %s to be free: %w; `ss -ltnp` says who has it", address, component, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// StartComponents implements agentpb.AgentServer.
func (a *Agent) StartComponents(ctx context.Context, req *agentpb.StartComponentsRequest) (*agentpb.StartComponentsReply, error) {
	if err := checkComponents(req.GetComponents()); err != nil {
		return nil, err
	}
	a.act.Lock()
	defer a.act.Unlock()
	if req.GetOwnEtcdAlone() {
		if err := a.ownEtcdAlone(ctx, req.GetComponents()); err != nil {
			return nil, toStatus(err)
		}
	}
	if err := a.startComponents(ctx, req.GetComponents(), req.GetWaitReady()); err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.StartComponentsReply{}, a.unmarkFenced()
}

func (a *Agent) startComponents(ctx context.Context, names []string, waitReady bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	stopped := false
	for _, n := range names {
		stopped = stopped || exists(filepath.Join(a.paths.Stopped(), n+".yaml"))
		if err := staticpod.PutBack(a.paths.Manifests(), n+".yaml", a.paths.Stopped()); err != nil {
			return fmt.Errorf("put %s back into service: %w", n, err)
		}
	}
	if stopped {
		// A kubelet that saw the manifest go looks for it again only every 10 s or
		// so while it still ends the former pod; a new one starts it at once, in
		// 3 to 5 s instead of up to 13.
		if err := kubelet.Restart(ctx); err != nil {
			a.log.Warn("the kubelet cannot be restarted: waiting for it to notice", "error", err)
		}
	}
	if err := a.untilRunning(ctx, names); err != nil || !waitReady {
		return err
	}
	for {
		err := a.apiReady(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for kube-apiserver to be ready: %w; see `crictl logs` of kube-apiserver", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Kubelet implements agentpb.AgentServer.
func (a *Agent) Kubelet(ctx context.Context, req *agentpb.KubeletRequest) (*agentpb.KubeletReply, error) {
	var err error
	switch req.GetAction() {
	case "start":
		err = kubelet.Start(ctx)
	case "stop":
		err = kubelet.Stop(ctx)
	case "restart":
		err = kubelet.Restart(ctx)
	default:
		return nil, status.Errorf(codes.InvalidArgument, "kubelet action %q: start, stop or restart", req.GetAction())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	s, err := kubelet.State(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.KubeletReply{State: s}, nil
}

// NoteEpoch implements agentpb.AgentServer.
func (a *Agent) NoteEpoch(_ context.Context, req *agentpb.NoteEpochRequest) (*agentpb.NoteEpochReply, error) {
	if err := a.learn(nil, req.GetLineage()); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &agentpb.NoteEpochReply{}, nil
}
