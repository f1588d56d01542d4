package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/kubelet"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/revision"
	"clusteretcd.io/ceo/internal/staticpod"
)

// pullLimit bounds the pull of an image that is not here; the caller may have less patience.
const pullLimit = 5 * time.Minute

func (a *Agent) shelf() revision.Shelf { return revision.Shelf{Paths: a.paths} }

// PlaceRevision implements agentpb.AgentServer.
func (a *Agent) PlaceRevision(ctx context.Context, req *agentpb.PlaceRevisionRequest) (*agentpb.PlaceRevisionReply, error) {
	plan, err := a.planRevision(req)
	if err != nil {
		return nil, toStatus(err)
	}
	if plan.Already {
		return &agentpb.PlaceRevisionReply{Revision: plan.Revision}, nil
	}
	if err := a.readsLog(ctx, req); err != nil {
		return nil, err
	}
	name, placed, err := a.placeRevision(ctx, req, plan)
	if err != nil {
		return nil, err
	}
	if placed {
		a.kickKubelet(ctx)
	}
	return &agentpb.PlaceRevisionReply{Revision: name}, nil
}

// placeRevision places it, under the lock; false if it is there already.
func (a *Agent) placeRevision(ctx context.Context, req *agentpb.PlaceRevisionRequest, plan revision.Plan) (name string, placed bool, err error) {
	// Before anything is locked: a pull takes minutes, and a recovery must not wait for it.
	if err := a.ensureImage(ctx, plan.Image()); err != nil {
		return "", false, err
	}
	a.act.Lock()
	defer a.act.Unlock()
	// Meanwhile another call may have done it, or a recovery may have begun.
	if plan, err = a.planRevision(req); err != nil {
		return "", false, toStatus(err)
	}
	if plan.Already {
		return plan.Revision, false, nil
	}
	place := func(context.Context) error { return a.shelf().Place(plan, req.GetIll(), revision.Now()) }
	who := fmt.Sprintf("a restart of etcd on %s with revision %s", a.Config().Name, plan.Revision)
	err = a.restartUnderLock(ctx, who, req.GetRollBack(), place)
	if err != nil && req.GetUnlocked() && lockIsLost(err) {
		if why := a.mustWaitUnlocked(ctx); why != "" {
			return "", false, status.Errorf(codes.FailedPrecondition, "%s, and the lock could not be had (%v): nothing was placed", why, err)
		}
		a.log.Warn("the cluster's lock cannot be had, and this node's etcd serves nobody: its revision is placed without", "revision", plan.Revision, "error", err)
		err = place(ctx)
	}
	switch {
	case errors.Is(err, errMustNot):
		return "", false, status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		return "", false, toStatus(err)
	}
	a.log.Info("etcd's revision is placed", "revision", plan.Revision, "rollBack", req.GetRollBack(), "reason", req.GetReason())
	a.freeKubelet(ctx)
	return plan.Revision, true, nil
}

// freeLimit bounds the end of the API server below.
const freeLimit = 15 * time.Second

// freeKubelet ends this node's kube-apiserver once etcd's manifest was changed. The kubelet asks that one to delete and
// make etcd's mirror pod; with its etcd gone it answers neither, and etcd was seen to start 100 s later. One that is gone
// refuses at once; the kubelet brings it back, and it waits for etcd. It serves nobody without etcd anyhow. That it does
// not end costs time, and nothing else.
func (a *Agent) freeKubelet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freeLimit)
	defer cancel()
	if err := a.cri.StopStatic(ctx, []string{"kube-apiserver"}, 2*time.Second); err != nil {
		a.log.Warn("kube-apiserver was not ended: the kubelet may take two minutes to restart etcd", "error", err)
	}
}

// kickKubelet restarts the kubelet where nothing of etcd runs for a while after its manifest was changed. One that has not
// reached an API server since its own start, as after a loss of power where etcd could not start as its manifest was, never
// ends the pod of before and so never starts the next; and one whose etcd has failed often waits for up to five minutes.
// Started anew, it forgets both. Nothing else is held up while it is waited for, and so it is looked
// again whether a recovery has begun meanwhile (P17). A kubelet that somebody has stopped stays so.
func (a *Agent) kickKubelet(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if !a.noEtcdFor(ctx, kickAfter) {
		return
	}
	a.act.Lock()
	defer a.act.Unlock()
	if decidePlacing(a.placing("")) != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freeLimit)
	defer cancel()
	if state, err := kubelet.State(ctx); err != nil || state != "active" {
		return
	}
	a.log.Warn("the kubelet has not started etcd with its changed manifest: it is restarted")
	if err := kubelet.Restart(ctx); err != nil {
		a.log.Warn("restart the kubelet", "error", err)
	}
}

// noEtcdFor waits for that long and reports whether nothing of etcd was seen to run until its end. A look that failed last
// is no proof (I23).
func (a *Agent) noEtcdFor(ctx context.Context, d time.Duration) bool {
	waited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		look, end := context.WithTimeout(ctx, try)
		cs, err := a.cri.List(look)
		end()
		if err == nil && len(cri.RunningStatic(cs, "etcd")) > 0 {
			return false
		}
		select {
		case <-waited.Done():
			return err == nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// planRevision checks what is asked for, and that it may be done here now.
func (a *Agent) planRevision(req *agentpb.PlaceRevisionRequest) (revision.Plan, error) {
	if why := decidePlacing(a.placing(req.GetClusterId())); why != "" {
		return revision.Plan{}, status.Error(codes.FailedPrecondition, why)
	}
	refused := func(err error) (revision.Plan, error) {
		return revision.Plan{}, status.Error(codes.FailedPrecondition, err.Error())
	}
	if req.GetRollBack() {
		p, err := a.shelf().PlanBack()
		if errors.Is(err, revision.ErrNoGood) || errors.Is(err, revision.ErrOutOfService) || errors.Is(err, staticpod.ErrNoGuard) {
			return refused(err)
		}
		return p, err
	}
	c, err := staticpod.ParseContent(req.GetContent())
	if err != nil {
		return revision.Plan{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if req.GetRevision() != "" && req.GetRevision() != c.Hash() {
		return revision.Plan{}, status.Errorf(codes.InvalidArgument, "this content is revision %s here, and %s for the caller: agent and operator are of different versions", c.Hash(), req.GetRevision())
	}
	p, err := a.shelf().Plan(c)
	if errors.Is(err, revision.ErrOutOfService) || errors.Is(err, staticpod.ErrNoGuard) {
		return refused(err)
	}
	return p, err
}

func (a *Agent) placing(asked string) placing {
	p := placing{asked: asked, recovery: a.recover.current().GetId(), fenced: exists(a.fencedPath())}
	if h, err := durable.ReadJSON[node.Hold](a.paths.Hold()); err == nil {
		p.hold = h.ID
	} else if exists(a.paths.Hold()) {
		p.hold = "somebody unknown (hold.json cannot be read)"
	}
	if i, err := durable.ReadJSON[node.Intent](a.paths.Intent()); err == nil {
		p.pending = i.RestorePending
	}
	if g, ok := a.Config().Lineage.Current(); ok {
		p.cluster = g.ClusterID
	} else if id, err := a.dataCluster(); err == nil {
		p.cluster = id
	}
	return p
}

// ensureImage refuses an image that is not here and cannot be pulled, so that one that is missing takes no member down.
func (a *Agent) ensureImage(ctx context.Context, image string) error {
	if image == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pullLimit)
	defer cancel()
	if err := a.cri.EnsureImage(ctx, image); err != nil {
		if ctx.Err() != nil {
			return toStatus(fmt.Errorf("%w: %w", err, ctx.Err()))
		}
		return status.Errorf(codes.NotFound, "%v: nothing was restarted; correct the image, or bring it here with `crictl pull %s`", err, image)
	}
	return nil
}

// revisions is what NodeState says of them.
func (a *Agent) revisions(ctx context.Context) *agentpb.Revisions {
	p, err := a.shelf().Present()
	if err != nil {
		if errors.Is(err, revision.ErrOutOfService) && !a.etcdManifestKnown() {
			return nil // no etcd was ever put here
		}
		return &agentpb.Revisions{Error: err.Error()}
	}
	x, err := a.shelf().Index()
	if err != nil {
		return &agentpb.Revisions{Placed: p.Revision, Error: err.Error()}
	}
	content, err := json.Marshal(p.Content)
	if err != nil {
		return &agentpb.Revisions{Placed: p.Revision, Error: err.Error()}
	}
	out := &agentpb.Revisions{Placed: p.Revision, Content: content, LastGood: x.LastGood, RolledBackFrom: x.RolledBackFrom, Kept: x.Kept}
	if x.Placed == p.Revision {
		out.PlacedForMs, out.Ill, out.PlacedAt = x.PlacedFor(revision.Now()).Milliseconds(), x.Ill, timestamppb.New(x.PlacedAt)
	}
	running, err := a.cri.Annotation(ctx, "etcd", staticpod.RevisionAnnotation)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Running = runs(running, p)
	if p.Address != "" && out.Running == p.Revision {
		at, err := a.cri.Annotation(ctx, "etcd", staticpod.AddressAnnotation)
		if err != nil {
			out.Error = err.Error()
		} else if slices.ContainsFunc(at, func(s string) bool { return s != p.Address }) {
			out.Running = "" // at the address that is gone: its vote is not counted on (P22)
		}
	}
	return out
}

func (a *Agent) etcdManifestKnown() bool {
	return exists(a.paths.Stopped() + "/" + staticpod.EtcdFile)
}

// runs is the revision that the containers are of; "" for none, or for one on its way out beside another. A manifest that
// carries no name is what runs without one: whoever changes such a manifest through here gives it a name.
func runs(said []string, p revision.Present) string {
	if len(said) == 0 {
		return ""
	}
	for _, s := range said {
		if s != said[0] {
			return ""
		}
	}
	if said[0] == "" && !p.Ours {
		return p.Revision
	}
	return said[0]
}
