// Package lock is the one lock of the cluster for everything that can take a voter away: installing, restarting,
// removing (I7, P22). It lies in etcd itself, so it needs a quorum, and so does everything that it protects.
package lock

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Key is where the lock lies.
const Key = "/clusteretcd.io/lock/voter"

// ttl is how long the lock outlives a holder that was killed.
const ttl = 30 * time.Second

// look is how often a waiting caller looks again.
const look = 500 * time.Millisecond

// Holder says who has the lock, for whoever waits for it.
type Holder struct {
	// Who is the verb and the node, as "ceo node install on cp-1".
	Who   string    `json:"who"`
	Since time.Time `json:"since"`
}

// HeldError is returned when another had the lock all the time that was waited.
type HeldError struct {
	By     Holder
	Waited time.Duration
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("locked by %s since %s (waited %s): let it finish, then run this again; the lock of a process that was killed ends by itself after %s",
		e.By.Who, e.By.Since.Format(time.RFC3339), e.Waited.Round(time.Second), ttl)
}

// ExitCode is "locked by another run".
func (*HeldError) ExitCode() int { return 5 }

// Held is the lock in our hands.
type Held struct {
	client   *clientv3.Client
	lease    clientv3.LeaseID
	revision int64
	stop     context.CancelFunc
	lost     chan struct{}
}

// Lost is closed once the lease is not kept any more: it was lost, or given back. A process that stands still learns of
// it late; Act does not rely on it.
func (h *Held) Lost() <-chan struct{} { return h.lost }

// Acquire takes the lock, and waits for it at most as long as said; waiting is called once for each holder that it waits
// for.
func Acquire(ctx context.Context, c *clientv3.Client, who string, wait time.Duration, waiting func(Holder)) (*Held, error) {
	return acquire(ctx, c, who, ttl, wait, waiting)
}

func acquire(ctx context.Context, c *clientv3.Client, who string, life, wait time.Duration, waiting func(Holder)) (*Held, error) {
	value, err := json.Marshal(Holder{Who: who, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return nil, fmt.Errorf("take the lock: %w", err)
	}
	began := time.Now()
	var last Holder
	for {
		held, by, err := try(ctx, c, string(value), life)
		if err != nil {
			return nil, fmt.Errorf("take the cluster's lock for voters: %w", alarmed(err))
		}
		if held != nil {
			return held, nil
		}
		if by != last {
			waiting(by)
			last = by
		}
		if time.Since(began) >= wait {
			return nil, &HeldError{By: by, Waited: time.Since(began)}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock that %s holds: %w", by.Who, ctx.Err())
		case <-time.After(look):
		}
	}
}

// request bounds one call to etcd.
const request = 5 * time.Second

func try(ctx context.Context, c *clientv3.Client, value string, life time.Duration) (*Held, Holder, error) {
	limited, cancel := context.WithTimeout(ctx, request)
	defer cancel()
	now, err := c.Get(limited, Key)
	if err != nil {
		return nil, Holder{}, err
	}
	if len(now.Kvs) > 0 {
		return nil, holder(now.Kvs[0].Value), nil
	}
	lease, err := c.Grant(limited, int64(life/time.Second))
	if err != nil {
		return nil, Holder{}, err
	}
	res, err := c.Txn(limited).
		If(clientv3.Compare(clientv3.CreateRevision(Key), "=", 0)).
		Then(clientv3.OpPut(Key, value, clientv3.WithLease(lease.ID))).
		Else(clientv3.OpGet(Key)).Commit()
	if err != nil {
		// It may have been written all the same: the lease takes it back.
		revoke(c, lease.ID)
		return nil, Holder{}, err
	}
	if !res.Succeeded {
		revoke(c, lease.ID)
		if kvs := res.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
			return nil, holder(kvs[0].Value), nil
		}
		return nil, Holder{Who: "another run"}, nil
	}
	alive, stop := context.WithCancel(context.WithoutCancel(ctx))
	kept, err := c.KeepAlive(alive, lease.ID)
	if err != nil {
		stop()
		revoke(c, lease.ID)
		return nil, Holder{}, err
	}
	h := &Held{client: c, lease: lease.ID, revision: res.Header.GetRevision(), stop: stop, lost: make(chan struct{})}
	go func() {
		defer close(h.lost)
		for range kept { //nolint:revive // the channel must be drained; Check finds a lost lease
		}
	}()
	return h, Holder{}, nil
}

func holder(value []byte) Holder {
	var h Holder
	if err := json.Unmarshal(value, &h); err != nil || h.Who == "" {
		return Holder{Who: fmt.Sprintf("an unknown holder (%q)", value)}
	}
	return h
}

// Check asks etcd whether the lock is still ours: to be asked right before what it protects, as a process that was
// stopped for a while has lost it without noticing.
func (h *Held) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, request)
	defer cancel()
	res, err := h.client.Get(ctx, Key)
	if err != nil {
		return fmt.Errorf("is the lock still ours: %w", err)
	}
	if len(res.Kvs) == 0 || res.Kvs[0].CreateRevision != h.revision {
		return fmt.Errorf("the lock %s was lost (this process stood still for more than %s?): run this again", Key, ttl)
	}
	return nil
}

// Release gives the lock back. If etcd cannot be reached, it ends by itself.
func (h *Held) Release() {
	h.stop()
	revoke(h.client, h.lease)
}

// revoke ends a lease and with it the lock. That it fails is no error: the lease ends by itself.
func revoke(c *clientv3.Client, id clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.Background(), request)
	defer cancel()
	_, _ = c.Revoke(ctx, id)
}
