package observe

import (
	"context"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"clusteretcd.io/ceo/api/v1alpha1"
)

// How often is looked. A look costs each agent some milliseconds and etcd one read.
const (
	Every           = 5 * time.Second
	CataloguesEvery = 5 * time.Minute
	// Soon is when a look that was hastened begins.
	Soon = time.Second
)

// Watch looks again and again while this operator leads, and tells those who have subscribed.
type Watch struct {
	Gatherer        *Gatherer
	Every           time.Duration
	CataloguesEvery time.Duration

	mu      sync.Mutex
	latest  Observation
	have    bool
	backups Backups
	subs    []chan event.GenericEvent
	again   chan struct{}
	hasten  chan struct{}
}

// Latest is the newest observation; false before the first.
func (w *Watch) Latest() (Observation, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest, w.have
}

// After is the newest observation with the EtcdCluster as it is now, which may be newer than the look; nil where there is
// none. ok is false if the look was begun before acted: it does not show what was done then.
func (w *Watch) After(ctx context.Context, acted time.Time, api client.Reader) (o Observation, ok bool, err error) {
	o, ok = w.Latest()
	if !ok || !o.At.After(acted) {
		return o, false, nil
	}
	o.Cluster = &v1alpha1.EtcdCluster{}
	if err := api.Get(ctx, client.ObjectKey{Name: v1alpha1.ClusterName}, o.Cluster); err != nil {
		o.Cluster = nil
		return o, true, client.IgnoreNotFound(err)
	}
	return o, true, nil
}

// Subscribe gives a channel that has something in it after each look. It is called before Start.
func (w *Watch) Subscribe() <-chan event.GenericEvent {
	c := make(chan event.GenericEvent, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subs = append(w.subs, c)
	return c
}

// ReadCatalogues asks for the catalogues before their time: a backup was made.
func (w *Watch) ReadCatalogues() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.again == nil {
		return
	}
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// Hasten has the next look begin Soon, and not at its time: something has just been changed, and what comes of it is waited
// for. It is once; whoever waits on asks again at each look.
func (w *Watch) Hasten() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hasten == nil {
		return
	}
	select {
	case w.hasten <- struct{}{}:
	default:
	}
}

// NeedLeaderElection makes the manager run it on the leader alone.
func (w *Watch) NeedLeaderElection() bool { return true }

// Start looks until ctx ends.
func (w *Watch) Start(ctx context.Context) error {
	w.mu.Lock()
	w.again, w.hasten = make(chan struct{}, 1), make(chan struct{}, 1)
	again, hasten := w.again, w.hasten
	w.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { w.catalogues(ctx, again) })
	defer wg.Wait()
	t := time.NewTicker(w.Every)
	defer t.Stop()
	for {
		select {
		case <-hasten: // it is served by the look that begins now
		default:
		}
		w.look(ctx, again)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-hasten:
			select {
			case <-ctx.Done():
				return nil
			case <-t.C:
			case <-time.After(Soon):
				t.Reset(w.Every)
			}
		}
	}
}

func (w *Watch) look(ctx context.Context, again chan<- struct{}) {
	o, err := w.Gatherer.Gather(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		// The API cannot be read, so nothing could be written either: the last look stays.
		w.Gatherer.Log.Warn("no look at the cluster", "error", err)
		return
	}
	w.mu.Lock()
	first := !w.have
	o.Backups = w.backups
	w.latest, w.have = o, true
	w.mu.Unlock()
	measure(o)
	if first {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	w.tell()
}

func (w *Watch) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.subs {
		select {
		case c <- event.GenericEvent{}:
		default: // it has not been read since the last look
		}
	}
}

// catalogues are read beside the looks: a store that is far away must not hold these up.
func (w *Watch) catalogues(ctx context.Context, again <-chan struct{}) {
	t := time.NewTicker(w.CataloguesEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-again:
		}
		o, ok := w.Latest()
		if !ok || o.StandBack() != "" {
			continue
		}
		b := w.Gatherer.Catalogues(ctx, o.Answering())
		w.mu.Lock()
		if b.Read || !w.backups.Read {
			w.backups = b
		}
		w.latest.Backups = w.backups
		w.mu.Unlock()
		w.tell()
	}
}
