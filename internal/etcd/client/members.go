package client

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/lock"
)

// UpdatePeerURL tells the membership where a member is now.
func (c *Client) UpdatePeerURL(ctx context.Context, id uint64, peerURL string) error {
	if _, err := c.c.MemberUpdate(ctx, id, []string{peerURL}); err != nil {
		return fmt.Errorf("update the address of member %x to %s: %w", id, peerURL, err)
	}
	return nil
}

// MoveLeader hands the leadership over. Only the leader itself does that, so
// the client must be one of its endpoint alone.
func (c *Client) MoveLeader(ctx context.Context, to uint64) error {
	if _, err := c.c.MoveLeader(ctx, to); err != nil {
		return fmt.Errorf("hand the leadership to member %x: %w", to, err)
	}
	return nil
}

// Change is one change of the membership, with what it was decided on.
type Change struct {
	Action etcd.Action
	// ClusterID and On are the cluster and the membership, with the members'
	// health, that it was decided on.
	ClusterID uint64
	On        etcd.View
	// Endpoint is the client's own; a move of the leadership asks there who
	// leads.
	Endpoint string
	// Leader makes a client of another member's endpoint, to hand the leadership
	// over from there. Without it the call must be made on the leader's node.
	Leader func(endpoint string) (*Client, error)
}

// RefusedError is a change that was not made because it must not be: nothing was
// changed.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// ExitCode is "refused as unsafe".
func (*RefusedError) ExitCode() int { return 4 }

func refuse(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// Change makes it, with the lock held by the caller (UnderLock): the members are
// listed anew, with a quorum's consent, and the change is checked against them.
// A change that is made already is a success. The id is that of an added member.
func (c *Client) Change(ctx context.Context, ch Change) (id uint64, err error) {
	now, err := c.Members(ctx)
	if err != nil {
		return 0, err
	}
	a := ch.Action
	if now.ClusterID != ch.ClusterID {
		// Another cluster's list says nothing about the change, not even that it is made (I5).
		return 0, refuse("%s of member %x was decided on cluster %x, and etcd here is of cluster %x", a.Kind, a.MemberID, ch.ClusterID, now.ClusterID)
	}
	made, refused := etcd.Check(a, ch.On, now.Pure())
	switch {
	case made && a.Kind == etcd.AddLearner:
		return now.at(a.PeerURL), nil
	case made:
		return 0, nil
	case refused != "":
		return 0, refuse("%s refused: %s", a.Kind, refused)
	}
	switch a.Kind {
	case etcd.AddLearner:
		m, err := c.AddLearner(ctx, a.PeerURL)
		return m.ID, byEtcd(err)
	case etcd.Promote:
		return 0, byEtcd(c.Promote(ctx, a.MemberID))
	case etcd.Remove:
		return 0, byEtcd(c.Remove(ctx, a.MemberID))
	case etcd.UpdatePeerURL:
		// The peers would be sent away from an address that works to one where nobody is.
		if err := reachable(ctx, a.PeerURL); err != nil {
			return 0, refuse("nothing answers at the new address, so the old one stays: %v; the member's etcd has to listen there first", err)
		}
		return 0, byEtcd(c.UpdatePeerURL(ctx, a.MemberID, a.PeerURL))
	case etcd.MoveLeader:
		return 0, byEtcd(c.handOver(ctx, ch, now))
	case etcd.Wait, etcd.Settled:
	}
	return 0, refuse("%s is nothing to be done", a.Kind)
}

// ChangeAlone makes it as the one coordinator of a recovery does, who takes the
// lock all the same, as `ceo node install` may run at the same time. An alarm
// that was restored with the data keeps everyone from taking it, and is no
// reason not to bring the members back.
func (c *Client) ChangeAlone(ctx context.Context, l Locked, ch Change) error {
	began := false
	act := func(ctx context.Context) error {
		began = true
		_, err := c.Change(ctx, ch)
		return err
	}
	l.Frozen = false
	err := c.UnderLock(ctx, l, act)
	var alarm *lock.AlarmError
	var held *lock.HeldError
	if !errors.As(err, &alarm) && !errors.As(err, &held) {
		return err
	}
	// CORRUPT keeps even the lock of one who is gone.
	l.Frozen = true
	if frozen := c.UnderLock(ctx, l, act); began || frozen == nil {
		return frozen
	}
	return err
}

func (c *Client) handOver(ctx context.Context, ch Change, now Membership) error {
	st, err := c.Status(ctx, ch.Endpoint)
	if err != nil {
		return err
	}
	switch from := ch.Action.MemberID; {
	case st.Leader == 0:
		return refuse("there is no leader now: look again")
	case st.Leader != from:
		return nil // it is made, whoever took over
	case st.MemberID == from:
		return c.MoveLeader(ctx, ch.Action.To)
	case ch.Leader == nil:
		return refuse("member %x leads, and etcd on this node is member %x: only the leader hands over, so its node's agent has to be asked", from, st.MemberID)
	}
	for _, m := range now.Members {
		if m.ID != st.Leader || len(m.ClientURLs) == 0 {
			continue
		}
		l, err := ch.Leader(m.ClientURLs[0])
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }()
		return l.MoveLeader(ctx, ch.Action.To)
	}
	return refuse("the leader %x has published no address", st.Leader)
}

// byEtcd tells what etcd refused, as it does where its own count of who is
// connected says so, from what went wrong on the way.
func byEtcd(err error) error {
	var e rpctypes.EtcdError
	if errors.As(err, &e) && e.Code() == codes.FailedPrecondition {
		return refuse("etcd refuses: %v", err)
	}
	return err
}

// Pure is the membership as decisions are made of; health is not known.
func (m Membership) Pure() []etcd.Member {
	out := make([]etcd.Member, 0, len(m.Members))
	for _, x := range m.Members {
		y := etcd.Member{ID: x.ID, Name: x.Name, Learner: x.Learner}
		if len(x.PeerURLs) > 0 {
			y.PeerURL = x.PeerURLs[0]
		}
		out = append(out, y)
	}
	return out
}

func (m Membership) at(peerURL string) uint64 {
	for _, x := range m.Pure() {
		if x.PeerURL == peerURL {
			return x.ID
		}
	}
	return 0
}
