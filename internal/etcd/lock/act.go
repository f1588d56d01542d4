package lock

import (
	"context"
	"fmt"
	"time"
)

// margin is the part of the lease's time that is left unused: for clocks that do not run alike, and the way to etcd.
const margin = 6

// Act does what the lock protects, as long as it is certain that the lock is ours. A change of the membership and a
// restart are no transactions on keys, which etcd could refuse together with a lost lock. So the lease is renewed and
// the lock asked for right before, and the context that act gets ends well before the lease can: a process that stands
// still between the two finds its context expired, and sends nothing.
//
// Act is for what is begun by one request. What takes longer must show itself to whoever looks next (a member that is
// restarted or defragmented is not healthy), or be broken off on Lost.
func (h *Held) Act(ctx context.Context, act func(context.Context) error) error {
	// Taken before the request: the lease ends no earlier than that much after it.
	began := time.Now()
	asked, cancel := context.WithTimeout(ctx, request)
	renewed, err := h.client.KeepAliveOnce(asked, h.lease)
	cancel()
	if err != nil {
		return fmt.Errorf("renew the lock %s: %w: nothing was changed, run this again", Key, err)
	}
	if err := h.Check(ctx); err != nil {
		return err
	}
	life := time.Duration(renewed.TTL) * time.Second
	ctx, cancel = context.WithDeadline(ctx, began.Add(life-life/margin))
	defer cancel()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the lock %s could not be asked for in time: nothing was changed, run this again: %w", Key, err)
	}
	return act(ctx)
}
