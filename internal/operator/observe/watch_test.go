package observe

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// counting is an API server with nothing in it; each look reads the Nodes once.
type counting struct {
	client.Reader
	looks atomic.Int64
}

func (*counting) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

func (c *counting) List(_ context.Context, _ client.ObjectList, o ...client.ListOption) error {
	if len(o) > 0 { // the Nodes, by their label
		c.looks.Add(1)
	}
	return nil
}

// A look that is hastened begins Soon, once; whoever waits on asks at each look. Without it all is as ever.
func TestHasten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &counting{}
		w := &Watch{Gatherer: &Gatherer{API: api, Log: slog.New(slog.DiscardHandler), Now: time.Now}, Every: Every, CataloguesEvery: CataloguesEvery}
		w.Hasten() // nobody looks yet: not a thing
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Start(ctx) }()
		after := func(d time.Duration, want int64, when string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := api.looks.Load(); got != want {
				t.Errorf("%s: %d looks, want %d", when, got, want)
			}
		}
		after(time.Millisecond, 1, "at the start")
		after(Every, 2, "at its time")
		w.Hasten()
		w.Hasten()
		after(Soon+time.Millisecond, 3, "hastened, which is once however often it was asked for")
		after(Soon+time.Millisecond, 3, "a second later: nobody asked")
		after(Every, 4, "at its time again, counted from the last look")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
