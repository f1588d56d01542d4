package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/recovery"
	"clusteretcd.io/ceo/internal/recovery/engine"
)

// recoveries is the coordinator's part: at most one recovery is open on an
// agent, and it is gone on with whenever the agent starts.
type recoveries struct {
	agent *Agent

	mu   sync.Mutex
	open *engine.Journal
	stop context.CancelFunc // ends the present run, so that it is made anew

	// wake tells run that open has changed.
	wake chan struct{}
}

// run owns the goroutine of the open recovery for as long as the agent lives.
func (r *recoveries) run(ctx context.Context) error {
	for {
		j, rctx, cancel := r.next(ctx)
		if j != nil {
			err := engine.New(j, r.deps()).Execute(rctx)
			if err != nil && rctx.Err() == nil {
				r.agent.log.Error("recovery", "error", err)
			}
			r.finish(j)
		}
		again := rctx.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if again {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		}
	}
}

func (r *recoveries) next(ctx context.Context) (*engine.Journal, context.Context, context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rctx, cancel := context.WithCancel(ctx)
	r.stop = cancel
	return r.open, rctx, cancel
}

// load opens the journal of a recovery that was not ended. There is one at
// most, as none is created while one is open.
func (r *recoveries) load() error {
	ids, err := engine.List(r.agent.paths.Journal())
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		j, err := engine.Open(r.agent.paths.Journal(), id, time.Now)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		st := j.State()
		if st.End != "" {
			errs = append(errs, j.Close())
			continue
		}
		if st.Failed == "" {
			errs = append(errs, j.Append(engine.Event{Kind: engine.KindResume, Text: "the agent started again"}))
		}
		r.mu.Lock()
		r.open = j
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (r *recoveries) finish(j *engine.Journal) {
	st := j.State()
	if st.End == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == j {
		r.open = nil
	}
	if r.open == nil || r.open.State().Plan.Source.Ref != st.Plan.Source.Ref {
		r.agent.forgetSnapshot(st.Plan.Source.Ref)
	}
	if err := j.Close(); err != nil {
		r.agent.log.Warn("close the journal", "error", err)
	}
}

func (r *recoveries) deps() engine.Deps {
	return engine.Deps{
		Agent: func(n recovery.PlanNode) (agentpb.AgentClient, error) { return r.agent.pool.Agent(n.Address) },
		Etcd:  r.agent.etcd, Log: r.agent.log, Now: time.Now,
	}
}

// again makes the present run, if there is one, end, and another begin.
func (r *recoveries) again() {
	r.mu.Lock()
	if r.stop != nil {
		r.stop()
	}
	r.mu.Unlock()
	r.look()
}

// look wakes the owner where nothing runs.
func (r *recoveries) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// find returns the open journal, or an ended one by its id, opened to be read.
func (r *recoveries) find(id string) (*engine.Journal, error) {
	r.mu.Lock()
	j := r.open
	r.mu.Unlock()
	if j != nil && (id == "" || j.State().ID == id) {
		return j, nil
	}
	if id == "" {
		ids, err := engine.List(r.agent.paths.Journal())
		if err != nil {
			return nil, toStatus(err)
		}
		if len(ids) == 0 {
			return nil, status.Error(codes.NotFound, "no recovery was ever run from this node")
		}
		id = ids[len(ids)-1]
	}
	if !fileName.MatchString(id) {
		return nil, status.Errorf(codes.InvalidArgument, "%q is no recovery's id", id)
	}
	j, err := engine.Open(r.agent.paths.Journal(), id, time.Now)
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "recovery %s: %v", id, err)
	}
	// It is only read: nothing is added to a recovery that is over.
	if err := j.Close(); err != nil {
		return nil, toStatus(err)
	}
	return j, nil
}

// current is what the open recovery amounts to; nil if none is open.
func (r *recoveries) current() *agentpb.Recovery {
	r.mu.Lock()
	j := r.open
	r.mu.Unlock()
	if j == nil {
		return nil
	}
	return recoveryToPB(j.State())
}
