package client

import (
	"context"
	"time"

	"clusteretcd.io/ceo/internal/etcd/lock"
)

// Locked says how the cluster's one lock for voters is taken.
type Locked struct {
	// Who is shown to whoever waits for it: what is done, and on which node.
	Who string
	// Wait is how long another holder is waited for.
	Wait time.Duration
	// Frozen: an alarm keeps everyone from taking the lock, and what is done is the way out of it (lock.Frozen).
	Frozen bool
}

// UnderLock calls act with the lock held, and gives it back. The context that act gets ends before the lock can be lost;
// act begins one request, as lock.Held.Act says.
func (c *Client) UnderLock(ctx context.Context, l Locked, act func(context.Context) error) error {
	if l.Frozen {
		if err := lock.Frozen(ctx, c.c); err != nil {
			return err
		}
		return act(ctx)
	}
	held, err := lock.Acquire(ctx, c.c, l.Who, l.Wait, func(lock.Holder) {})
	if err != nil {
		return err
	}
	defer held.Release()
	return held.Act(ctx, act)
}
