package revision

import (
	"bytes"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/staticpod"
)

const from, to = "10.90.0.11", "10.90.0.77"

func (s Shelf) mustMove(t *testing.T) {
	t.Helper()
	p, err := s.PlanAddress(from, to)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PlaceAddress(p, clock(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// TestPlaceAddress: the revision stays what it is at another address, and it counts anew when it was placed (P20).
func TestPlaceAddress(t *testing.T) {
	s := newShelf(t)
	s.mustNote(t, true)
	s.mustPlace(t, staticpod.Content{QuotaBytes: 8 << 30})
	s.mustNote(t, true)
	before, indexBefore := s.mustPresent(t), s.mustIndex(t)
	s.mustMove(t)
	s.mustMove(t) // I20
	after, x := s.mustPresent(t), s.mustIndex(t)
	if after.Revision != before.Revision || after.Content != before.Content || after.Address != to || bytes.Contains(after.Manifest, []byte(from)) {
		t.Errorf("%s %+v %q\n%s", after.Revision, after.Content, after.Address, after.Manifest)
	}
	if x.LastGood != indexBefore.LastGood || x.Placed != after.Revision || x.PlacedFor(clock(time.Hour)) != 0 || !x.Ill {
		t.Errorf("%+v", x)
	}
	if kept, err := s.Read(after.Revision); err != nil || !bytes.Equal(kept, after.Manifest) {
		t.Errorf("what is kept is not what is there: %v", err)
	}
}

// TestRollBackKeepsAddress: a good revision of before the move comes back at the address that the node has now (P20).
func TestRollBackKeepsAddress(t *testing.T) {
	s := newShelf(t)
	s.mustPlace(t, staticpod.Content{QuotaBytes: 4 << 30})
	s.mustNote(t, true)
	good := s.mustPresent(t)
	s.mustPlace(t, staticpod.Content{QuotaBytes: 8 << 30})
	s.mustMove(t)
	back, err := s.PlanBack()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Place(back, false, clock(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	now := s.mustPresent(t)
	if now.Revision != good.Revision || now.Content != good.Content || now.Address != to || bytes.Contains(now.Manifest, []byte(from)) {
		t.Errorf("%s %+v %q\n%s", now.Revision, now.Content, now.Address, now.Manifest)
	}
}

// TestPlaceAddressCrash: a crash at any point leaves the one manifest or the other, and the next try ends it (I20).
func TestPlaceAddressCrash(t *testing.T) {
	for _, at := range []string{"address: revision kept", "address: index written", "address: manifest placed"} {
		t.Run(at, func(t *testing.T) {
			s := newShelf(t)
			s.mustNote(t, true)
			before := s.mustPresent(t)
			was := reached
			t.Cleanup(func() { reached = was })
			reached = func(point string) {
				if point == at {
					panic(at)
				}
			}
			func() {
				defer func() {
					if r := recover(); r != at {
						t.Fatalf("it did not come there: %v", r)
					}
				}()
				s.mustMove(t)
			}()
			reached = was
			if now := s.mustPresent(t); !bytes.Equal(now.Manifest, before.Manifest) && now.Address != to {
				t.Fatalf("neither of the two:\n%s", now.Manifest)
			}
			s.mustMove(t)
			if now := s.mustPresent(t); now.Address != to || now.Revision != before.Revision {
				t.Errorf("%q %s", now.Address, now.Revision)
			}
		})
	}
}

// TestPlaceAddressOverOthers: what somebody has changed since the plan stays.
func TestPlaceAddressOverOthers(t *testing.T) {
	s := newShelf(t)
	p, err := s.PlanAddress(from, to)
	if err != nil {
		t.Fatal(err)
	}
	other := s.mustPlace(t, staticpod.Content{QuotaBytes: 8 << 30})
	if err := s.PlaceAddress(p, clock(time.Hour)); err == nil {
		t.Error("it was placed over another one")
	}
	if now := s.mustPresent(t); now.Revision != other.Revision {
		t.Errorf("%s", now.Revision)
	}
}
