package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Alarm is one that a member has raised.
type Alarm struct {
	// Kind as etcd prints it: NOSPACE or CORRUPT.
	Kind     string
	MemberID uint64
}

func (a Alarm) String() string { return fmt.Sprintf("%s on %x", a.Kind, a.MemberID) }

// Raised are the alarms that are raised. Alarms has them as text.
func (c *Client) Raised(ctx context.Context) ([]Alarm, error) {
	r, err := c.c.AlarmList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list alarms at %v: %w", c.endpoints, err)
	}
	var out []Alarm
	for _, a := range r.Alarms {
		out = append(out, Alarm{Kind: a.GetAlarm().String(), MemberID: a.GetMemberID()})
	}
	return out, nil
}

// Disarm takes one alarm of one member back. That it is not raised any more is no error.
func (c *Client) Disarm(ctx context.Context, a Alarm) error {
	kind, ok := pb.AlarmType_value[a.Kind]
	if !ok || pb.AlarmType(kind) == pb.AlarmType_NONE || a.MemberID == 0 {
		// Without either, clientv3 disarms every alarm there is.
		return fmt.Errorf("disarm %q of member %x: there is no such alarm: name NOSPACE or CORRUPT and the member", a.Kind, a.MemberID)
	}
	raised, err := c.Raised(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(raised, a) {
		return nil
	}
	if _, err := c.c.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: a.MemberID, Alarm: pb.AlarmType(kind)}); err != nil {
		return fmt.Errorf("disarm %s: %w", a, err)
	}
	return nil
}

// Compact drops the history before a revision. Physical waits until every key of it is out of the member's database, so
// that its pages are free. A history that was compacted to there before is no error.
func (c *Client) Compact(ctx context.Context, revision int64, physical bool) error {
	var opts []clientv3.CompactOption
	if physical {
		opts = append(opts, clientv3.WithCompactPhysical())
	}
	if _, err := c.c.Compact(ctx, revision, opts...); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact to revision %d: %w", revision, err)
	}
	return nil
}

// Defragment writes the database of the member behind an endpoint anew, without its free pages. The member answers
// nothing that reads or writes meanwhile. etcd goes on with it when the context ends.
func (c *Client) Defragment(ctx context.Context, endpoint string) error {
	if _, err := c.c.Defragment(ctx, endpoint); err != nil {
		return fmt.Errorf("defragment %s: %w", endpoint, err)
	}
	return nil
}
