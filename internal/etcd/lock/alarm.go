package lock

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// AlarmError is returned where the lock cannot be taken because of an alarm: etcd refuses every write then, and the lock
// is one. What mends the alarm goes by Frozen; everything else waits.
type AlarmError struct{ Err error }

func (e *AlarmError) Error() string {
	return fmt.Sprintf("etcd refuses every write because of an alarm, so nothing may be restarted or removed: see `ceo status`, mend the alarm first: %v", e.Err)
}

func (e *AlarmError) Unwrap() error { return e.Err }

// ExitCode is "refused as unsafe".
func (*AlarmError) ExitCode() int { return 4 }

func alarmed(err error) error {
	if errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, rpctypes.ErrCorrupt) {
		return &AlarmError{err}
	}
	return err
}

// Frozen stands in for the lock while an alarm keeps everyone from taking it: it is nil if such an alarm is raised and
// nobody has the lock. It is no mutual exclusion between two who both mend: they decide the same from the same sizes,
// and the worst is that two members are defragmented at once and writes wait, which are refused at that time anyhow.
func Frozen(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, request)
	defer cancel()
	alarms, err := c.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("list the alarms: %w", err)
	}
	raised := false
	for _, a := range alarms.Alarms {
		raised = raised || a.GetAlarm() == pb.AlarmType_NOSPACE || a.GetAlarm() == pb.AlarmType_CORRUPT
	}
	if !raised {
		return errors.New("no alarm is raised that keeps anyone from taking the lock: take it")
	}
	res, err := c.Get(ctx, Key)
	switch {
	case err != nil:
		return fmt.Errorf("who has the lock: %w", err)
	case len(res.Kvs) == 0:
		return nil
	}
	// CORRUPT keeps even a lease that has ended, and the key with it.
	left, err := c.TimeToLive(ctx, clientv3.LeaseID(res.Kvs[0].Lease))
	switch {
	case err != nil:
		return fmt.Errorf("does the lock's holder live: %w", err)
	case left.TTL >= 0: // 0 is less than a second
		return &HeldError{By: holder(res.Kvs[0].Value)}
	}
	return nil
}
