package maintenance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/maintenance"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Limits of the calls. An agent bounds what it does by itself; these are for one that hangs.
const (
	shortLimit   = 45 * time.Second
	compactLimit = 150 * time.Second
	// lockTime is what a defragmentation waits for the lock at most, and its agent's own looks.
	lockTime = 90 * time.Second
	// rest is how long a member is left alone after a defragmentation, so that one that gives nothing back, or fails, is
	// not begun again and again.
	rest       = 10 * time.Minute
	restFrozen = 30 * time.Second
)

// Mender does what was decided. The controller and Unled share one, and one acts at a time.
type Mender struct {
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger
	Now    func() time.Time

	mu sync.Mutex
	// compacted: since NOSPACE was first seen.
	compacted bool
	tried     map[uint64]time.Time
	// acted is when the last action ended: what was seen before says nothing of it.
	acted time.Time
	last  string // reason that was logged
}

// step makes the next step, if there is one, and says whether it made one.
func (m *Mender) step(ctx context.Context, o observe.Observation, unled bool, begin func(maintenance.Action)) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !o.At.After(m.acted) {
		return false, nil
	}
	if done, err := m.release(ctx, o); done || err != nil {
		return done, err
	}
	v := View(o, m.compacted)
	full := false
	for _, r := range v.Alarms {
		full = full || r.Alarm == maintenance.NoSpace
	}
	if !full {
		m.compacted, v.Compacted = false, false
	}
	a := maintenance.Next(v)
	if id, why, ok := Removable(v); ok && unled && v.Cluster.Pause.MayAct().OK {
		return true, m.end(o, maintenance.Action{Kind: remove, MemberID: id, Frozen: true, Reason: why}, m.remove(ctx, o, v, id, why))
	}
	if unled && !a.Frozen {
		// Beside an operator that leads nothing is done but the way out of an alarm.
		return false, nil
	}
	if a.Kind == maintenance.Defragment {
		wait := rest
		if a.Frozen {
			wait = restFrozen
		}
		if at, ok := m.tried[a.MemberID]; ok && m.Now().Sub(at) < wait {
			a.Kind, a.Reason = maintenance.Wait, a.Reason+", but it was tried a moment ago"
		}
	}
	if a.Reason != m.last && a.Kind != maintenance.Nothing {
		m.Log.Info("maintenance", "kind", a.Kind, "reason", a.Reason, "frozen", a.Frozen, "unled", unled)
	}
	m.last = a.Reason
	if !a.Changes() {
		return false, nil
	}
	begin(a)
	return true, m.end(o, a, m.apply(ctx, o, v, a))
}

// remove is the kind under which the removal of a corrupt member is counted.
const remove maintenance.Kind = "remove"

// end counts and tells what came of it. Under an alarm nobody can write an event; what was told is told again by the one
// that comes with the disarming.
func (m *Mender) end(o observe.Observation, a maintenance.Action, err error) error {
	m.acted = m.Now()
	result, kind, reason, note := "done", corev1.EventTypeNormal, eventReason(a), a.Reason
	if err != nil {
		result, kind, reason, note = "failed", corev1.EventTypeWarning, "MaintenanceFailed", fmt.Sprintf("%s: %s: %s", a.Kind, a.Reason, observe.Reason(err))
		m.Log.Warn("maintenance failed", "kind", a.Kind, "reason", a.Reason, "error", err)
	}
	actions.WithLabelValues(string(a.Kind), result).Inc()
	if o.Cluster != nil && m.Events != nil {
		m.Events.Eventf(o.Cluster, nil, kind, reason, "Maintain", "%s", clip(note))
	}
	return err
}

func eventReason(a maintenance.Action) string {
	switch a.Kind {
	case maintenance.Defragment:
		return "Defragmented"
	case maintenance.Compact:
		return "Compacted"
	case maintenance.Disarm:
		return "AlarmMended"
	case maintenance.Fence:
		return "MemberFenced"
	case maintenance.MoveLeader:
		return "LeaderMoved"
	case remove:
		return "MemberRemoved"
	case maintenance.Nothing, maintenance.Wait:
	}
	return v1alpha1.ReasonAsExpected
}

func clip(s string) string {
	const most = 1000 // an event takes 1024
	if len(s) > most {
		return s[:most]
	}
	return s
}

func (m *Mender) release(ctx context.Context, o observe.Observation) (bool, error) {
	for _, r := range Releases(o) {
		err := m.call(ctx, r.Node.Address, shortLimit, func(ctx context.Context, c agentpb.AgentClient) error {
			_, err := c.ReleaseEtcd(ctx, &agentpb.ReleaseEtcdRequest{Id: r.Hold})
			return err
		})
		a := maintenance.Action{Kind: "release", Reason: r.Node.Name + " is let go: its corrupt member was removed, and it waits to be added anew"}
		return true, m.end(o, a, err)
	}
	return false, nil
}

func (m *Mender) call(ctx context.Context, address string, limit time.Duration, f func(context.Context, agentpb.AgentClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := m.Agents.Agent(address)
	if err != nil {
		return err
	}
	return f(ctx, c)
}

// address of the agent of the member's node.
func address(o observe.Observation, id uint64) (string, error) {
	for _, x := range o.Membership().Members {
		if n, ok := o.Node(x.Node); x.ID == id && ok && n.Address != "" {
			return n.Address, nil
		}
	}
	return "", fmt.Errorf("no node is known that stands for member %x", id)
}

// anyVoter is a healthy voter to ask, the leader if it is one, and never the one named.
func anyVoter(o observe.Observation, but uint64) (observe.Member, error) {
	var best observe.Member
	ms := o.Membership()
	for _, x := range ms.Members {
		if x.ID == but || x.Learner || x.Health != etcd.Healthy || x.Corrupt || x.Etcd == nil {
			continue
		}
		if best.ID == 0 || x.ID == ms.Leader {
			best = x
		}
	}
	if best.ID == 0 {
		return best, errors.New("no healthy voter answers")
	}
	return best, nil
}

func (m *Mender) apply(ctx context.Context, o observe.Observation, v maintenance.View, a maintenance.Action) error {
	at, limit := a.MemberID, shortLimit
	req := &agentpb.MaintainRequest{Kind: string(a.Kind), Frozen: a.Frozen, Reason: a.Reason}
	switch a.Kind {
	case maintenance.MoveLeader:
		return m.change(ctx, o, v, at, &agentpb.ChangeMembersRequest{
			Kind: string(etcd.MoveLeader), MemberId: node.FormatID(a.MemberID), To: node.FormatID(a.To), Reason: a.Reason, Frozen: a.Frozen,
		})
	case maintenance.Fence:
		host, err := address(o, at)
		if err != nil {
			return err
		}
		return m.call(ctx, host, shortLimit, func(ctx context.Context, c agentpb.AgentClient) error {
			_, err := c.HoldEtcd(ctx, &agentpb.HoldEtcdRequest{Id: observe.FenceID(a.MemberID), Reason: a.Reason, Fast: true})
			return err
		})
	case maintenance.Defragment:
		req.LimitMs, limit = a.Limit.Milliseconds(), a.Limit+lockTime
	case maintenance.Compact, maintenance.Disarm:
		x, err := anyVoter(o, 0)
		if err != nil {
			return err
		}
		at = x.ID
		if a.Kind == maintenance.Disarm {
			req.Alarm, req.MemberId = string(a.Alarm), node.FormatID(a.MemberID)
		} else {
			req.Revision, limit = x.Etcd.GetRevision(), compactLimit
		}
	case maintenance.Nothing, maintenance.Wait:
		return nil
	}
	host, err := address(o, at)
	if err != nil {
		return err
	}
	if a.Kind == maintenance.Defragment {
		if m.tried == nil {
			m.tried = map[uint64]time.Time{}
		}
		// Its rest begins at its end, however that is.
		defer func() { m.tried[at] = m.Now() }()
	}
	err = m.call(ctx, host, limit, func(ctx context.Context, c agentpb.AgentClient) error {
		r, err := c.Maintain(ctx, req)
		if err == nil && a.Kind == maintenance.Defragment {
			m.Log.Info("defragmented", "member", v.Cluster.Label(at), "before", r.GetDbSizeBefore(), "after", r.GetDbSizeAfter())
			reclaimed.Add(float64(max(r.GetDbSizeBefore()-r.GetDbSizeAfter(), 0)))
		}
		return err
	})
	m.compacted = m.compacted || a.Kind == maintenance.Compact && err == nil
	return err
}

// change asks the agent of a member for a change of the membership as it was seen.
func (m *Mender) change(ctx context.Context, o observe.Observation, v maintenance.View, at uint64, req *agentpb.ChangeMembersRequest) error {
	host, err := address(o, at)
	if err != nil {
		return err
	}
	req.ClusterId = o.Membership().ClusterID
	for _, x := range v.Cluster.Members {
		req.DecidedOn = append(req.DecidedOn, &agentpb.DecidedMember{Id: node.FormatID(x.ID), Learner: x.Learner, PeerUrl: x.PeerURL, Health: x.Health.String()})
	}
	return m.call(ctx, host, shortLimit, func(ctx context.Context, c agentpb.AgentClient) error {
		_, err := c.ChangeMembers(ctx, req)
		return err
	})
}

// remove takes a corrupt member out where nobody leads: the alarm that it raised keeps an operator from leading, and it
// can be disarmed only once the member is gone.
func (m *Mender) remove(ctx context.Context, o observe.Observation, v maintenance.View, id uint64, why string) error {
	x, err := anyVoter(o, id)
	if err != nil {
		return err
	}
	return m.change(ctx, o, v, x.ID, &agentpb.ChangeMembersRequest{Kind: string(etcd.Remove), MemberId: node.FormatID(id), Reason: why, Frozen: true})
}
