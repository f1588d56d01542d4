package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/node"
)

// ChangeMembers implements agentpb.AgentServer.
func (a *Agent) ChangeMembers(ctx context.Context, req *agentpb.ChangeMembersRequest) (*agentpb.ChangeMembersReply, error) {
	r, err := changeMembers(ctx, req, a.etcd.url, a.openRecovery, a.underLock)
	log := a.log.With("kind", req.GetKind(), "member", req.GetMemberId(), "peerURL", req.GetPeerUrl(), "reason", req.GetReason())
	if err != nil {
		log.Warn("the membership was not changed", "error", err)
		return nil, err
	}
	log.Info("the membership was changed")
	return r, nil
}

// openRecovery is the id of the recovery that this agent coordinates and that is not over; empty for none.
func (a *Agent) openRecovery() string { return a.recover.current().GetId() }

// ChangeMembersAt is ChangeMembers through any etcd: what the agent does, without the agent.
func ChangeMembersAt(ctx context.Context, c *etcdclient.Client, endpoint string, req *agentpb.ChangeMembersRequest, openRecovery func() string) (*agentpb.ChangeMembersReply, error) {
	return changeMembers(ctx, req, endpoint, openRecovery, func(ctx context.Context, who string, frozen bool, act func(context.Context, *etcdclient.Client) error) error {
		return c.UnderLock(ctx, etcdclient.Locked{Who: who, Wait: lockWait, Frozen: frozen}, func(ctx context.Context) error { return act(ctx, c) })
	})
}

type lockTaker func(ctx context.Context, who string, frozen bool, act func(context.Context, *etcdclient.Client) error) error

// changeMembers makes the change. Nothing of what the caller says is believed but what it has seen of the members'
// health, and that is checked by the same arithmetic once more: see etcd.Check.
func changeMembers(ctx context.Context, req *agentpb.ChangeMembersRequest, endpoint string, openRecovery func() string, locked lockTaker) (*agentpb.ChangeMembersReply, error) {
	ch, err := changeFromPB(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	ch.Endpoint = endpoint
	out := &agentpb.ChangeMembersReply{}
	who := fmt.Sprintf("the operator: %s (%s)", req.GetKind(), req.GetReason())
	err = locked(ctx, who, req.GetFrozen(), func(ctx context.Context, c *etcdclient.Client) error {
		// With the lock held: a recovery that has begun since keeps its own count of the members (P17).
		if id := openRecovery(); id != "" {
			return &etcdclient.RefusedError{Reason: "recovery " + id + " is open on this node, and its coordinator alone changes the membership (P17): see `ceo status`"}
		}
		id, err := c.Change(ctx, ch)
		if err == nil && id != 0 {
			out.MemberId = node.FormatID(id)
		}
		return err
	})
	if err != nil {
		return nil, membersStatus(err)
	}
	return out, nil
}

// membersStatus tells what must not be done, which a look anew has to come before, from what could not be done now.
func membersStatus(err error) error {
	var refused *etcdclient.RefusedError
	var held *lock.HeldError
	var alarm *lock.AlarmError
	var own rpctypes.EtcdError
	switch {
	case errors.As(err, &refused):
		return status.Error(codes.FailedPrecondition, refused.Reason)
	case errors.As(err, &held):
		return status.Error(codes.Aborted, err.Error())
	case errors.As(err, &alarm):
		return status.Error(codes.Unavailable, err.Error())
	case errors.As(err, &own):
		// Unavailable for one: members have to have been connected for some seconds before etcd takes the next change.
		return status.Error(own.Code(), err.Error())
	}
	return toStatus(err)
}

func changeFromPB(req *agentpb.ChangeMembersRequest) (etcdclient.Change, error) {
	var ch etcdclient.Change
	a := etcd.Action{Kind: etcd.Kind(req.GetKind()), PeerURL: req.GetPeerUrl(), Reason: req.GetReason()}
	switch a.Kind {
	case etcd.AddLearner, etcd.Promote, etcd.Remove, etcd.MoveLeader, etcd.UpdatePeerURL:
	case etcd.Wait, etcd.Settled:
		fallthrough
	default:
		return ch, fmt.Errorf("%q is no change of the membership", req.GetKind())
	}
	if req.GetFrozen() && a.Kind != etcd.Remove && a.Kind != etcd.MoveLeader {
		return ch, fmt.Errorf("%s is no way out of an alarm, so it waits for the lock", a.Kind)
	}
	var bad []error
	id := func(s, of string, needed bool) uint64 {
		if s == "" && !needed {
			return 0
		}
		n, err := strconv.ParseUint(s, 16, 64)
		if err != nil || n == 0 {
			bad = append(bad, fmt.Errorf("%q is no id of %s", s, of))
		}
		return n
	}
	a.MemberID = id(req.GetMemberId(), "a member", a.Kind != etcd.AddLearner)
	a.To = id(req.GetTo(), "a member", a.Kind == etcd.MoveLeader)
	if a.PeerURL == "" && (a.Kind == etcd.AddLearner || a.Kind == etcd.UpdatePeerURL) {
		bad = append(bad, fmt.Errorf("%s needs an address", a.Kind))
	}
	if len(req.GetDecidedOn()) == 0 {
		bad = append(bad, errors.New("the membership that this was decided on is not named"))
	}
	ch = etcdclient.Change{Action: a, ClusterID: id(req.GetClusterId(), "a cluster", true)}
	for _, m := range req.GetDecidedOn() {
		x := etcd.Member{ID: id(m.GetId(), "a member", true), Learner: m.GetLearner(), PeerURL: m.GetPeerUrl()}
		switch m.GetHealth() {
		case "healthy":
			x.Health = etcd.Healthy
		case "unhealthy":
			x.Health = etcd.Unhealthy
		}
		ch.On.Members = append(ch.On.Members, x)
	}
	return ch, errors.Join(bad...)
}

// Change implements engine.Cluster.
func (e *ownEtcd) Change(ctx context.Context, clusterID string, a etcd.Action, on etcd.View) error {
	id, err := strconv.ParseUint(clusterID, 16, 64)
	if err != nil {
		return fmt.Errorf("the recovered cluster's id %q: %w", clusterID, err)
	}
	ch := etcdclient.Change{Action: a, ClusterID: id, On: on, Endpoint: e.url, Leader: func(endpoint string) (*etcdclient.Client, error) {
		tls, err := etcdclient.HealthcheckTLS(e.pki)
		if err != nil {
			return nil, err
		}
		return etcdclient.Dial([]string{endpoint}, tls)
	}}
	_, err = use(ctx, e, change, func(ctx context.Context, c *etcdclient.Client) (struct{}, error) {
		l := etcdclient.Locked{Who: fmt.Sprintf("a recovery: %s (%s)", a.Kind, a.Reason), Wait: lockWait}
		return struct{}{}, c.ChangeAlone(ctx, l, ch)
	})
	return err
}
