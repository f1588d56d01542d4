package maintenance

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/internal/etcd/maintenance"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Unled mends alarms while no operator leads. Under an alarm etcd refuses every write, and the Lease by which an operator
// leads is one: the leader steps down, and the others cannot follow. So the way out of an alarm, and nothing else, is gone
// by operators that do not lead, once nobody has renewed the Lease for long enough (ADR 0013).
type Unled struct {
	*Mender
	// Live reads past the cache, which has no Leases.
	Live     client.Reader
	Gatherer *observe.Gatherer
	// Elected is closed once this operator leads: the controller does it then.
	Elected <-chan struct{}
	// Lease of the leader.
	Lease client.ObjectKey
	// Every is how often the Lease is read; After, for how long it has to stay the same.
	Every, After time.Duration
}

// Times of Unled. After is longer than a Lease lasts and a leader tries to renew it.
const (
	UnledEvery = 10 * time.Second
	UnledAfter = 55 * time.Second
)

// NeedLeaderElection is what it is for.
func (*Unled) NeedLeaderElection() bool { return false }

// Start looks until ctx ends or this operator leads.
func (u *Unled) Start(ctx context.Context) error {
	t := time.NewTicker(u.Every)
	defer t.Stop()
	var version string
	var since time.Time // by the monotonic clock: a wall clock that jumps deposes nobody
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.Elected:
			return nil
		case <-t.C:
		}
		now, err := u.version(ctx)
		if err != nil {
			u.Log.Debug("the leader's Lease cannot be read", "error", err)
			since = time.Time{} // whether somebody leads is not known (I23)
			continue
		}
		if since.IsZero() || now != version {
			version, since = now, time.Now()
			continue
		}
		if time.Since(since) < u.After {
			continue
		}
		o, err := u.Gatherer.Gather(ctx)
		if err != nil {
			u.Log.Warn("nobody leads, and the cluster cannot be looked at", "error", err)
			continue
		}
		_, _ = u.step(ctx, o, true, func(maintenance.Action) {}) // logged, counted and told
	}
}

// version of the Lease, which each renewal changes; empty where there is none.
func (u *Unled) version(ctx context.Context) (string, error) {
	l := &metav1.PartialObjectMetadata{}
	l.SetGroupVersionKind(schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"})
	err := u.Live.Get(ctx, u.Lease, l)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	return l.GetResourceVersion(), err
}
