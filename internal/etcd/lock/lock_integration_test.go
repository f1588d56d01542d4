//go:build integration

package lock

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcdtest"
)

func quiet(Holder) {}

// I7: one at a time, however many try, and the others are told who.
func TestOnlyOneHolds(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{}).Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var inside, total atomic.Int32
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			held, err := Acquire(ctx, c, "a test", time.Minute, quiet)
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two hold the lock")
			}
			if err := held.Check(ctx); err != nil {
				t.Error(err)
			}
			inside.Add(-1)
			total.Add(1)
			held.Release()
		})
	}
	wg.Wait()
	if total.Load() != 5 {
		t.Errorf("%d of 5 had it", total.Load())
	}
}

func TestWhoHoldsItIsTold(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{}).Client(t)
	held, err := Acquire(t.Context(), c, "ceo node install on cp-1", time.Second, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var told Holder
	_, err = Acquire(t.Context(), c, "ceo node install on cp-2", time.Second, func(h Holder) { told = h })
	var locked *HeldError
	if !errors.As(err, &locked) || !strings.Contains(err.Error(), "ceo node install on cp-1") || locked.ExitCode() != 5 {
		t.Errorf("got %v", err)
	}
	if told.Who != "ceo node install on cp-1" {
		t.Errorf("told %v", told)
	}
	held.Release()
	again, err := Acquire(t.Context(), c, "x", time.Second, quiet)
	if err != nil {
		t.Fatalf("not released: %v", err)
	}
	again.Release()
}

// A holder that stood still until its lease ended must not go on.
func TestLostLockIsNoticed(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{}).Client(t)
	held, err := Acquire(t.Context(), c, "first", time.Second, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(t.Context(), held.lease); err != nil {
		t.Fatal(err)
	}
	if err := held.Check(t.Context()); err == nil {
		t.Error("a lost lock was taken for held")
	}
	other, err := Acquire(t.Context(), c, "second", time.Second, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Check(t.Context()); err == nil {
		t.Error("another's lock was taken for ours")
	}
	// Giving back what was lost does not take the other's.
	held.Release()
	if err := other.Check(t.Context()); err != nil {
		t.Error(err)
	}
	other.Release()
}
