package agent

import (
	"context"
	"time"

	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
)

// lockWait is how long a call of the operator waits for the lock: whoever holds it is named, and the operator asks again.
const lockWait = 3 * time.Second

// underLock lets act do one thing through this node's etcd while this agent holds the cluster's one lock for voters. who
// is what is done and on which node; the rest is as in etcdclient.UnderLock.
func (a *Agent) underLock(ctx context.Context, who string, frozen bool, act func(context.Context, *etcdclient.Client) error) error {
	c, err := a.etcd.client(ctx)
	if err != nil {
		return err
	}
	err = c.UnderLock(ctx, etcdclient.Locked{Who: who, Wait: lockWait, Frozen: frozen}, func(ctx context.Context) error { return act(ctx, c) })
	if err != nil {
		a.etcd.drop(c)
	}
	return err
}
