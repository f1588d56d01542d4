package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/recovery"
	"clusteretcd.io/ceo/internal/recovery/engine"
)

// freshFor is how long what was observed for a plan counts for its run: a
// script that plans and runs in one go need not wait for dark nodes twice. The
// fence finds out anew who answers.
const freshFor = 3 * time.Second

func (a *Agent) observation(ctx context.Context) (recovery.Observation, error) {
	a.mu.Lock()
	last := a.observed
	a.mu.Unlock()
	if time.Since(last.At) < freshFor {
		return last, nil
	}
	ob, err := a.Observe(ctx, &agentpb.ObserveRequest{})
	if err != nil {
		return recovery.Observation{}, err
	}
	o := observation(ob)
	o.At = time.Now()
	a.mu.Lock()
	a.observed = o
	a.mu.Unlock()
	return o, nil
}

// observe gathers what a plan is made of.
func (a *Agent) observe(ctx context.Context, req *agentpb.PlanRecoveryRequest) (recovery.Observation, error) {
	o, err := a.observation(ctx)
	if err != nil {
		return recovery.Observation{}, err
	}
	if req.GetSnapshot() != "" {
		label := req.GetSourceLabel()
		if label == "" {
			label = req.GetSnapshot()
		}
		o.Named = true
		o.Sources = []recovery.Source{a.sourceOf(ctx, req.GetSnapshot(), label, req.GetSkipHashCheck())}
		return o, nil
	}
	catalogue := make(chan []recovery.Source, 1)
	go func() { catalogue <- a.catalogueSources(ctx) }()
	o.Sources, err = a.localSources(ctx, req.GetSkipHashCheck())
	o.Sources = append(o.Sources, <-catalogue...)
	return o, err
}

// PlanRecovery implements agentpb.AgentServer. It changes nothing.
func (a *Agent) PlanRecovery(ctx context.Context, req *agentpb.PlanRecoveryRequest) (*agentpb.Plan, error) {
	o, err := a.observe(ctx, req)
	if err != nil {
		return nil, toStatus(err)
	}
	return planToPB(recovery.Make(o)), nil
}

// RunRecovery implements agentpb.AgentServer.
func (a *Agent) RunRecovery(ctx context.Context, req *agentpb.RunRecoveryRequest) (*agentpb.Recovery, error) {
	o, err := a.observe(ctx, req.GetWhat())
	if err != nil {
		return nil, toStatus(err)
	}
	p := recovery.Make(o)
	if err := p.Consent(req.GetPlanId(), req.GetConfirmCluster(), req.GetAcceptRisks()); err != nil {
		return nil, toStatus(err)
	}
	id, err := newID(time.Now())
	if err != nil {
		return nil, toStatus(err)
	}
	r := &a.recover
	r.mu.Lock()
	if r.open != nil && p.Supersedes == r.open.State().ID && len(r.open.State().WaitingFor()) > 0 {
		if err := r.supersede(id); err != nil {
			r.mu.Unlock()
			return nil, toStatus(err)
		}
	}
	if r.open != nil {
		defer r.mu.Unlock()
		return nil, status.Errorf(codes.Aborted, "recovery %s is open on this node: watch it with `ceo recover --resume`, end it with `ceo recover --abort`", r.open.State().ID)
	}
	j, err := engine.Create(a.paths.Journal(), engine.Header{ID: id, Plan: p, SkipHashCheck: req.GetWhat().GetSkipHashCheck(), AcceptedRisks: req.GetAcceptRisks()}, time.Now)
	if err != nil {
		r.mu.Unlock()
		return nil, toStatus(err)
	}
	r.open = j
	r.mu.Unlock()
	a.mu.Lock()
	a.observed = recovery.Observation{} // it is history from here on
	a.mu.Unlock()
	a.log.Info("recovery begins", "id", id, "plan", p.ID, "source", p.Source.Label, "revision", p.Source.Revision)
	r.look()
	return recoveryToPB(j.State()), nil
}

// stateJoining: all is done but nodes that have yet to join.
const stateJoining = "joining"

// supersede ends the open recovery, which only waits for dark nodes, in favour
// of a new one that waits for them too. The caller has the lock.
func (r *recoveries) supersede(by string) error {
	if r.stop != nil {
		r.stop()
	}
	if err := r.open.Append(engine.Event{Kind: engine.KindEnd, Text: "superseded by " + by}); err != nil {
		return err
	}
	r.open = nil
	return nil
}

// newID begins with the time, so that ids sort by age.
func newID(now time.Time) (string, error) {
	b := make([]byte, 2)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("random id: %w", err)
	}
	return now.UTC().Format("20060102t150405z") + "-" + hex.EncodeToString(b), nil
}

// ResumeRecovery implements agentpb.AgentServer.
func (a *Agent) ResumeRecovery(_ context.Context, req *agentpb.ResumeRecoveryRequest) (*agentpb.Recovery, error) {
	j, err := a.recover.find(req.GetId())
	if err != nil {
		return nil, err
	}
	st := j.State()
	if st.End != "" {
		return recoveryToPB(st), nil
	}
	if st.Failed != "" {
		if err := j.Append(engine.Event{Kind: engine.KindResume, Text: "asked for by a person"}); err != nil {
			return nil, toStatus(err)
		}
		a.recover.again()
	}
	return recoveryToPB(j.State()), nil
}

// AbortRecovery implements agentpb.AgentServer.
func (a *Agent) AbortRecovery(_ context.Context, req *agentpb.AbortRecoveryRequest) (*agentpb.Recovery, error) {
	j, err := a.recover.find(req.GetId())
	if err != nil {
		return nil, err
	}
	st := j.State()
	switch {
	case st.End != "":
		return recoveryToPB(st), nil
	case st.BeyondReturn():
		return nil, status.Errorf(codes.FailedPrecondition, "recovery %s is beyond its point of no return: the restored etcd has started and may have served writes; go on with `ceo recover --resume`, or let a node go that does not come back with `ceo recover --let-go NODE`", st.ID)
	}
	if err := j.Append(engine.Event{Kind: engine.KindAbort, Text: "asked for by a person"}); err != nil {
		return nil, toStatus(err)
	}
	if st.Failed != "" {
		if err := j.Append(engine.Event{Kind: engine.KindResume, Text: "to undo"}); err != nil {
			return nil, toStatus(err)
		}
	}
	a.recover.again()
	return recoveryToPB(j.State()), nil
}

// LetGo implements agentpb.AgentServer.
func (a *Agent) LetGo(_ context.Context, req *agentpb.LetGoRequest) (*agentpb.Recovery, error) {
	j, err := a.recover.find(req.GetId())
	if err != nil {
		return nil, err
	}
	st := j.State()
	if st.End != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "recovery %s is over (%s)", st.ID, st.End)
	}
	known := false
	for _, n := range st.Plan.Nodes {
		known = known || n.Name == req.GetNode() && n.Name != st.Plan.Coordinator
	}
	if !known {
		return nil, status.Errorf(codes.InvalidArgument, "%q is not a node that recovery %s waits for", req.GetNode(), st.ID)
	}
	if err := j.Append(engine.Event{Kind: engine.KindLetGo, Node: req.GetNode(), Text: "asked for by a person"}); err != nil {
		return nil, toStatus(err)
	}
	// It is no peer any more until it shows up by itself.
	if _, err := a.update(func(c node.Config) (node.Config, bool, error) { return c.WithoutPeer(req.GetNode()) }); err != nil {
		return nil, toStatus(err)
	}
	return recoveryToPB(j.State()), nil
}

// WatchRecovery implements agentpb.AgentServer.
func (a *Agent) WatchRecovery(req *agentpb.WatchRecoveryRequest, s grpc.ServerStreamingServer[agentpb.RecoveryEvent]) error {
	j, err := a.recover.find(req.GetId())
	if err != nil {
		return err
	}
	n := 0
	for {
		events, changed := j.Since(n)
		st := j.State()
		for _, e := range events {
			out := &agentpb.RecoveryEvent{At: timestamppb.New(e.At), Step: e.Step, Kind: string(e.Kind), Node: e.Node, Text: e.Text, Recovery: recoveryToPB(st)}
			if err := s.Send(out); err != nil {
				return err
			}
		}
		n += len(events)
		if st.End != "" || st.Failed != "" {
			return nil
		}
		select {
		case <-s.Context().Done():
			return nil //nolint:nilerr // the caller stopped watching; the recovery goes on
		case <-changed:
		}
	}
}

func recoveryToPB(st engine.State) *agentpb.Recovery {
	out := &agentpb.Recovery{Id: st.ID, State: "running", Step: st.Current, Started: timestamppb.New(st.Started), Epoch: st.Plan.Epoch}
	switch {
	case st.End != "":
		out.State = st.End
	case st.Failed != "":
		out.State, out.Error = "failed", st.Failed
	case st.Aborting:
		out.State = "aborting"
	}
	out.WaitingFor = st.WaitingFor()
	if out.State == "running" && len(out.WaitingFor) > 0 {
		out.State = stateJoining
	}
	return out
}
