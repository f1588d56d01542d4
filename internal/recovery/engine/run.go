package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/recovery"
)

// Cluster is the restored etcd as the coordinator's own member serves it.
type Cluster interface {
	// Members is the linearizable list; health and catching-up are not set.
	Members(ctx context.Context) (clusterID string, members []etcd.Member, err error)
	// Revision is the store's present revision by a linearizable read.
	Revision(ctx context.Context) (int64, error)
	// Change makes the one change that was decided on what was seen, with the cluster's one lock held, and refuses it on
	// another membership. One that is made already is a success.
	Change(ctx context.Context, clusterID string, a etcd.Action, on etcd.View) error
	DeletePrefix(ctx context.Context, prefix string) (int64, error)
}

// Deps is what a run acts through.
type Deps struct {
	// Agent connects to a node's agent; the coordinator's own too.
	Agent func(recovery.PlanNode) (agentpb.AgentClient, error)
	Etcd  Cluster
	Log   *slog.Logger
	Now   func() time.Time
}

// Limits of a step. A step that is not done by then fails, and waits for a
// person with its journal.
const (
	stepLimit    = 3 * time.Minute
	stageLimit   = 2 * time.Hour // a restore moves the whole database
	retryFor     = 30 * time.Second
	retryEvery   = 300 * time.Millisecond
	joinEvery    = 300 * time.Millisecond
	callLimit    = 5 * time.Second
	changeLimit  = 12 * time.Second // another may have the lock
	masterLeases = "/registry/masterleases/"
)

// Components are the static pods beside etcd, kube-apiserver first: it must be
// gone before etcd is, and the others are of no use without it.
var Components = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// Run drives one journal.
type Run struct {
	j *Journal
	d Deps
}

// New makes a run of an open journal.
func New(j *Journal, d Deps) *Run { return &Run{j, d} }

// Execute goes on from wherever the journal ends, until the recovery is done,
// aborted or failed, or ctx ends. It returns an error where it failed; that is
// in the journal too.
func (r *Run) Execute(ctx context.Context) error {
	st := r.j.State()
	if st.End != "" || st.Failed != "" {
		return nil
	}
	err := r.execute(ctx, st)
	if err == nil || ctx.Err() != nil {
		return err
	}
	r.d.Log.Error("recovery stopped", "id", st.ID, "error", err)
	return errors.Join(err, r.j.Append(Event{Kind: KindFailed, Step: r.j.State().Current, Text: err.Error()}))
}

func (r *Run) execute(ctx context.Context, st State) error {
	if st.Aborting {
		return r.undo(ctx)
	}
	steps := st.Plan.Steps
	for i := 0; i < len(steps); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.j.State().Aborting {
			return r.undo(ctx)
		}
		// Fencing and announcing go to all nodes at once; joins are one loop,
		// since the membership changes one member at a time (I7).
		n := i + 1
		for n < len(steps) && steps[n].Name() == steps[i].Name() {
			n++
		}
		group := steps[i:n]
		if steps[i].Name() == recovery.StepJoin {
			if err := r.joinAll(ctx, group); err != nil {
				return err
			}
		} else if err := r.all(ctx, group); err != nil {
			return err
		}
		i = n
	}
	return r.j.Append(Event{Kind: KindEnd, Text: "done"})
}

func (r *Run) all(ctx context.Context, group []recovery.Step) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range group {
		g.Go(func() error { return r.step(ctx, s) })
	}
	return g.Wait()
}

// step does one step unless the journal says that it is done.
func (r *Run) step(ctx context.Context, s recovery.Step) error {
	if _, ok := r.j.State().Done[s.ID]; ok {
		return nil
	}
	if err := r.j.Append(Event{Kind: KindBegin, Step: s.ID, Node: s.Node, Text: s.Text}); err != nil {
		return err
	}
	failpoint(s.ID + ".begin")
	limit := stepLimit
	if s.Name() == recovery.StepStage || s.Name() == recovery.StepVerify {
		limit = stageLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var data any
	err := r.retry(ctx, func() error {
		var err error
		data, err = r.do(ctx, s)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s on %s: %w", s.Name(), s.Node, err)
	}
	failpoint(s.ID + ".do")
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("%s: %w", s.ID, err)
	}
	if err := r.j.Append(Event{Kind: KindDone, Step: s.ID, Node: s.Node, Data: raw}); err != nil {
		return err
	}
	failpoint(s.ID + ".done")
	return nil
}

// retry repeats what failed only because nobody answered: each call is
// idempotent. Everything else fails at once.
func (r *Run) retry(ctx context.Context, f func() error) error {
	until := r.d.Now().Add(retryFor)
	for {
		err := f()
		if err == nil || !transient(err) || r.d.Now().After(until) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEvery):
		}
	}
}

func transient(err error) bool {
	c := status.Code(err)
	return c == codes.Unavailable
}

func silent(err error) bool {
	c := status.Code(err)
	return c == codes.Unavailable || c == codes.DeadlineExceeded
}

func (r *Run) node(name string) (recovery.PlanNode, agentpb.AgentClient, error) {
	for _, n := range r.j.State().Plan.Nodes {
		if n.Name == name {
			a, err := r.d.Agent(n)
			return n, a, err
		}
	}
	return recovery.PlanNode{}, nil, fmt.Errorf("node %s is not in the plan", name)
}

func (r *Run) note(node, format string, args ...any) error {
	return r.j.Append(Event{Kind: KindNote, Node: node, Text: fmt.Sprintf(format, args...)})
}

// undo takes back what was begun, last first, and ends the recovery. Only what
// is before the point of no return gets here.
func (r *Run) undo(ctx context.Context) error {
	st := r.j.State()
	if st.BeyondReturn() {
		return errors.New("the restored etcd has started: there is no way back")
	}
	for _, s := range slices.Backward(st.Plan.Steps) {
		if !st.Begun[s.ID] {
			continue
		}
		sctx, cancel := context.WithTimeout(ctx, stepLimit)
		err := r.retry(sctx, func() error { return r.undoStep(sctx, s) })
		cancel()
		if err != nil && s.Name() == recovery.StepFence && s.Node != st.Plan.Coordinator && silent(err) {
			// The way back must not depend on a node that has gone dark meanwhile:
			// nothing of its data was changed. It stays held, and says so.
			if err := r.note(s.Node, "%s does not answer and stays held by this recovery: when it is back, see `ceo status` there", s.Node); err != nil {
				return err
			}
			err = nil
		}
		if err != nil {
			return fmt.Errorf("undo %s on %s: %w", s.Name(), s.Node, err)
		}
		if err := r.j.Append(Event{Kind: KindUndone, Step: s.ID, Node: s.Node, Text: s.Text}); err != nil {
			return err
		}
		failpoint(s.ID + ".undone")
	}
	return r.j.Append(Event{Kind: KindEnd, Text: "aborted"})
}

// HoldID is the id of the hold that a recovery places on every node.
func HoldID(recoveryID string) string { return recovery.HoldPrefix + recoveryID }
