package engine

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/recovery"
)

// joinAll brings every node in, one member at a time, in whatever order they
// become ready: a node that is dark now is waited for without a limit, until it
// is there or a person lets it go.
func (r *Run) joinAll(ctx context.Context, group []recovery.Step) error {
	lastReason, leader := "", int64(0)
	for {
		pending := r.pending(group)
		if len(pending) == 0 {
			return nil
		}
		tell := map[string]bool{}
		for _, s := range pending {
			tell[s.Node] = true
		}
		v, _, err := r.view(ctx, tell, leader)
		if err == nil {
			// The target is what the leader had one look ago: a learner that has
			// applied that has caught up, though writes go on (I8).
			if rev, rerr := r.d.Etcd.Revision(ctx); rerr == nil {
				leader = rev
			}
			var finished bool
			finished, err = r.finishJoined(ctx, pending, v)
			if err == nil && !finished {
				a := etcd.Decide(v)
				if a.Reason != lastReason {
					lastReason = a.Reason
					if err := r.note(a.Node, "%s: %s", a.Kind, a.Reason); err != nil {
						return err
					}
				}
				err = r.apply(ctx, a, v)
			}
		}
		if err != nil && ctx.Err() == nil {
			r.d.Log.Warn("joining: tried again", "error", err)
			if err.Error() != lastReason {
				lastReason = err.Error()
				if err := r.note("", "tried again: %v", err); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(joinEvery):
		}
	}
}

func (r *Run) pending(group []recovery.Step) []recovery.Step {
	st := r.j.State()
	var out []recovery.Step
	for _, s := range group {
		if _, done := st.Done[s.ID]; !done && !st.LetGo[s.Node] {
			out = append(out, s)
		}
	}
	return out
}

// finishJoined starts the control plane on a node whose member has become a
// voter, and records the join.
func (r *Run) finishJoined(ctx context.Context, pending []recovery.Step, v etcd.View) (bool, error) {
	for _, s := range pending {
		n, a, err := r.node(s.Node)
		if err != nil {
			return false, err
		}
		for _, m := range v.Members {
			if m.PeerURL != n.PeerURL || !m.Voter() || !m.Started() || m.Health != etcd.Healthy {
				continue
			}
			ctx, cancel := context.WithTimeout(ctx, stepLimit)
			defer cancel()
			if _, err := a.StartComponents(ctx, &agentpb.StartComponentsRequest{Components: Components, OwnEtcdAlone: true}); err != nil {
				return false, fmt.Errorf("start the control plane on %s: %w", s.Node, err)
			}
			failpoint(s.ID + ".do")
			if err := r.j.Append(Event{Kind: KindDone, Step: s.ID, Node: s.Node, Text: s.Text}); err != nil {
				return false, err
			}
			failpoint(s.ID + ".done")
			return true, nil
		}
	}
	return false, nil
}

// apply makes the one change that was decided. Each is idempotent: the next
// look shows whether it arrived.
func (r *Run) apply(ctx context.Context, a etcd.Action, on etcd.View) error {
	if !a.Changes() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	s, err := r.staged()
	if err != nil {
		return err
	}
	step := recovery.StepJoin + "/" + a.Node
	switch a.Kind {
	case etcd.AddLearner:
		if err := r.j.Append(Event{Kind: KindBegin, Step: step, Node: a.Node, Text: a.Reason}); err != nil {
			return err
		}
		failpoint(step + ".begin")
	case etcd.Promote:
		failpoint(step + ".promote")
	case etcd.Remove, etcd.MoveLeader, etcd.UpdatePeerURL, etcd.Wait, etcd.Settled:
	}
	return r.d.Etcd.Change(ctx, s.ClusterID, a, on)
}

// view gathers what the decision needs: the membership from a quorum, and
// each node's own word, in parallel and with a limit each (P21). Nodes in tell
// are told of the epoch if they do not know it. leader is the revision that a
// learner must have applied. The nodes' own words come back by peer URL.
func (r *Run) view(ctx context.Context, tell map[string]bool, leader int64) (etcd.View, map[string]*agentpb.NodeState, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	st := r.j.State()
	s, err := r.staged()
	if err != nil {
		return etcd.View{}, nil, err
	}
	id, members, err := r.d.Etcd.Members(ctx)
	if err != nil {
		return etcd.View{}, nil, fmt.Errorf("list the members: %w", err)
	}
	if id != s.ClusterID {
		return etcd.View{}, nil, fmt.Errorf("etcd on %s serves cluster %s, and this recovery made %s", st.Plan.Coordinator, id, s.ClusterID)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	states := map[string]*agentpb.NodeState{}
	for _, n := range st.Plan.Nodes {
		if st.LetGo[n.Name] {
			continue
		}
		wg.Go(func() {
			ns := r.look(ctx, n, tell[n.Name])
			mu.Lock()
			defer mu.Unlock()
			states[n.PeerURL] = ns
		})
	}
	wg.Wait()
	v := etcd.View{}
	for _, n := range st.Plan.Nodes {
		if !st.LetGo[n.Name] {
			v.Nodes = append(v.Nodes, nodeView(n, states[n.PeerURL], s.ClusterID))
		}
	}
	for _, m := range members {
		ns := states[m.PeerURL]
		m.Health = memberHealth(ns, s.ClusterID)
		if m.Name == "" && m.Health == etcd.Healthy {
			// It runs and has not published its name yet: its own word counts.
			m.Name = ns.GetName()
		}
		rev := ns.GetEtcd().GetMetricsRevision()
		m.CaughtUp = leader > 0 && rev >= leader
		m.Applied = ns.GetEtcd().GetRaftAppliedIndex()
		if e := ns.GetEtcd(); e.GetHasLeader() && e.GetClusterId() == s.ClusterID && e.GetMemberId() == e.GetLeaderId() && e.GetMemberId() == node.FormatID(m.ID) {
			v.Leader = m.ID
		}
		v.Members = append(v.Members, m)
	}
	return v, states, nil
}

// look asks one node; nil where it does not answer. A node that comes back has
// not heard of the new epoch, or is still held by this recovery.
func (r *Run) look(ctx context.Context, n recovery.PlanNode, tell bool) *agentpb.NodeState {
	a, err := r.d.Agent(n)
	if err != nil {
		return nil
	}
	ns, err := a.Inspect(ctx, &agentpb.InspectRequest{Quick: true})
	if err != nil {
		return nil
	}
	if tell {
		known := false
		for _, g := range ns.GetLineage() {
			known = known || g.GetEpoch() == r.j.State().Plan.Epoch
		}
		if !known || ns.GetHoldId() == HoldID(r.j.State().ID) {
			if err := r.tell(ctx, a); err != nil {
				r.d.Log.Warn("telling a node of the new epoch", "node", n.Name, "error", err)
			}
		}
	}
	return ns
}

func nodeView(n recovery.PlanNode, ns *agentpb.NodeState, clusterID string) etcd.Node {
	out := etcd.Node{Name: n.Name, PeerURL: n.PeerURL}
	if ns == nil {
		return out
	}
	if d := ns.GetDataDir(); d.GetState() == "present" && d.GetClusterId() == clusterID {
		// What lies there says whose it is, better than any address (P20); 0 where it does not.
		out.Holds, _ = strconv.ParseUint(d.GetMemberId(), 16, 64)
	}
	// The guard waits and holds nothing of another cluster any more.
	out.Waiting = ns.GetGuard().GetState() == "waiting" && ns.GetDataDir().GetState() == "none"
	out.Wiped = ns.GetGuard().GetState() == "refused" && ns.GetDataDir().GetState() == "none"
	return out
}

// memberHealth is by a member's own metrics, which answer before its client
// port does.
func memberHealth(ns *agentpb.NodeState, clusterID string) etcd.Health {
	switch {
	case ns == nil:
		return etcd.Unknown // a time-out is not a death (I23)
	case ns.GetDataDir().GetClusterId() != clusterID:
		return etcd.Unhealthy
	case ns.GetEtcd().GetMetricsHasLeader():
		return etcd.Healthy
	}
	return etcd.Unhealthy
}

// served reports whether a member answers its clients.
func served(ns *agentpb.NodeState, clusterID string) bool {
	e := ns.GetEtcd()
	return e.GetAnswers() && e.GetHasLeader() && !e.GetLearner() && e.GetClusterId() == clusterID
}
