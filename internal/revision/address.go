package revision

import (
	"bytes"
	"errors"
	"fmt"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/staticpod"
)

// PlanAddress is the plan to have the present revision at another address of the node. It changes nothing.
func (s Shelf) PlanAddress(from, to string) (Plan, error) {
	now, err := s.Present()
	if err != nil {
		return Plan{}, err
	}
	raw, err := staticpod.RenderAddress(now.Manifest, from, to)
	if err != nil {
		return Plan{}, err
	}
	return plan(now, raw)
}

// PlaceAddress places such a plan. The revision is the same, so that nothing is out of date by it; when it was placed
// counts anew, as etcd has to come back. What is kept of it is brought up to date; older revisions are at the address that
// is gone, and get the new one when one of them comes back: see PlanBack.
func (s Shelf) PlaceAddress(p Plan, c Clock) error {
	now, err := s.Present()
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(now.Manifest, p.Manifest):
		return staticpod.Place(s.Paths.Manifests(), staticpod.EtcdFile, p.Manifest) // makes it durable
	case !bytes.Equal(now.Manifest, p.from.Manifest):
		return errors.New("etcd's manifest was changed by somebody else meanwhile: nothing was placed")
	case p.Revision != now.Revision:
		return fmt.Errorf("at another address etcd's revision would be %s, and it is %s", p.Revision, now.Revision)
	}
	x, err := s.Index()
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(s.dir(), 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(s.file(p.Revision), p.Manifest, 0o600); err != nil {
		return fmt.Errorf("keep revision %s: %w", p.Revision, err)
	}
	reached("address: revision kept")
	x, drop := x.again(p.Revision, c).Prune(Keep)
	if err := durable.WriteJSON(s.index(), x, 0o600); err != nil {
		return fmt.Errorf("the index of etcd's revisions: %w", err)
	}
	reached("address: index written")
	if err := staticpod.Place(s.Paths.Manifests(), staticpod.EtcdFile, p.Manifest); err != nil {
		return err
	}
	reached("address: manifest placed")
	s.remove(drop)
	return nil
}

// again is the index once the revision is placed at another address. That the member is not healthy says nothing against
// the revision then: its address was gone.
func (x Index) again(revision string, c Clock) Index {
	back := x.RolledBack && x.Placed == revision
	x = x.kept(revision).placed(revision, c)
	x.Ill, x.RolledBack = true, back
	return x
}
