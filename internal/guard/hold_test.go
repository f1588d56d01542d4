package guard

import (
	"errors"
	"os"
	"sync"
	"testing"

	"clusteretcd.io/ceo/internal/node"
)

func TestHoldWithoutAGuardIsInForce(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	rec := node.Hold{ID: "rec-1", Reason: "recovery"}
	for range 2 { // I20: the same again is no error of its own
		if _, err := HoldAndWait(t.Context(), p, rec); !errors.Is(err, ErrNoGuard) {
			t.Fatalf("got %v", err)
		}
		if h := readHold(p); h == nil || h.ID != "rec-1" {
			t.Fatalf("not in force: %+v", h)
		}
	}
	var held *HeldError
	if _, err := HoldAndWait(t.Context(), p, node.Hold{ID: "rec-2"}); !errors.As(err, &held) || held.Hold.ID != "rec-1" {
		t.Fatalf("a second hold: %v", err)
	}
	if err := ReleaseAndPoke(t.Context(), p, "rec-2"); !errors.As(err, &held) {
		t.Fatalf("released by another: %v", err)
	}
	if readHold(p) == nil {
		t.Fatal("the refused release ended the hold")
	}
	for range 2 {
		if err := ReleaseAndPoke(t.Context(), p, "rec-1"); !errors.Is(err, ErrNoGuard) {
			t.Fatal(err)
		}
	}
	if readHold(p) != nil {
		t.Fatal("still held")
	}
}

func TestOfTwoHoldsOneWins(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	ids := []string{"a", "b", "c", "d"}
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { _, errs[i] = HoldAndWait(t.Context(), p, node.Hold{ID: id}) })
	}
	wg.Wait()
	won := readHold(p)
	if won == nil {
		t.Fatal("no hold")
	}
	for i, id := range ids {
		var held *HeldError
		if got := errors.As(errs[i], &held); got == (id == won.ID) {
			t.Errorf("%s won, and %s got %v", won.ID, id, errs[i])
		}
	}
}

// A file that cannot be read permits nothing.
func TestUnreadableFilesPermitNothing(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	if err := os.MkdirAll(p.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{p.Hold(), p.Intent()} {
		if err := os.WriteFile(f, []byte(`{"id":`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if readHold(p) == nil {
		t.Error("an unreadable hold does not hold")
	}
	if i := readIntent(p); i.BootstrapOnce || i.RestorePending == "" {
		t.Errorf("an unreadable intent permits: %+v", i)
	}
	if _, err := HoldAndWait(t.Context(), p, node.Hold{ID: "x"}); err == nil || errors.Is(err, ErrNoGuard) {
		t.Errorf("took an unreadable hold over: %v", err)
	}
}
