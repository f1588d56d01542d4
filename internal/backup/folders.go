package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"clusteretcd.io/ceo/internal/store"
)

// URL is the place of what lies under a key of a store, whose own URL may end with parameters.
func URL(store, key string) string {
	place, parameters, ok := strings.Cut(store, "?")
	place = strings.TrimSuffix(place, "/") + "/" + key
	if ok {
		place += "?" + parameters
	}
	return place
}

// folder is what lies under a backup's name: by the name below it.
type folder map[string]store.Object

// listFolders gives those whose name begins with prefix and is a backup's; what else lies in the store is not looked
// at (P19).
func listFolders(ctx context.Context, s store.Store, prefix string) (map[string]folder, error) {
	folders := map[string]folder{}
	for o, err := range s.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		id, name, ok := strings.Cut(o.Key, "/")
		if !ok || !idForm.MatchString(id) {
			continue
		}
		if folders[id] == nil {
			folders[id] = folder{}
		}
		folders[id][name] = o
	}
	return folders, nil
}

func (f folder) size() int64 {
	var n int64
	for _, o := range f {
		n += o.Size
	}
	return n
}

// unfinished is what a folder without a manifest is.
func (f folder) unfinished(id string) (Unfinished, bool) {
	if _, ok := f[manifestName]; ok {
		return Unfinished{}, false
	}
	u := Unfinished{ID: id, Size: f.size()}
	for _, o := range f {
		if o.ModTime.After(u.At) {
			u.At = o.ModTime.UTC()
		}
	}
	return u, true
}

// inCatalogue makes sure that what was just made is what a listing finds: somebody whose clock is wrong may have taken
// an unfinished folder for an old one.
func inCatalogue(ctx context.Context, s store.Store, m Manifest) error {
	folders, err := listFolders(ctx, s, m.ID+"/")
	if err != nil {
		return err
	}
	e := Entry{ID: m.ID}
	if err := e.read(ctx, s, folders[m.ID]); err != nil {
		return fmt.Errorf("the backup is not in the catalogue as it was made: %w", err)
	}
	if e.Manifest.Digest != m.Digest {
		return fmt.Errorf("%w: %s in the catalogue is not the one that was made", ErrDamaged, m.ID)
	}
	return nil
}

// Leftovers removes the folders that never got a manifest and that nothing was written into for a day, by the store's
// own clock: made is a backup that was just stored, and tells the time there. This node's clock may be wrong, and
// another node may be writing.
func Leftovers(ctx context.Context, s store.Store, made Manifest) (removed []string, err error) {
	folders, err := listFolders(ctx, s, "")
	if err != nil {
		return nil, fmt.Errorf("look for what killed runs left: %w", err)
	}
	stored, ok := folders[made.ID][manifestName]
	if !ok {
		return nil, nil // pruned meanwhile; there will be a next time
	}
	var old []Unfinished
	for id, f := range folders {
		if u, ok := f.unfinished(id); ok && stored.ModTime.Sub(u.At) > abandonedAfter {
			old = append(old, u)
		}
	}
	slices.SortFunc(old, func(a, b Unfinished) int { return cmp.Compare(a.ID, b.ID) })
	var errs []error
	for _, u := range old {
		gone, err := removeUnfinished(ctx, s, u.ID)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("clear what a killed run left: %w", err))
		case gone:
			removed = append(removed, u.ID)
		}
	}
	return removed, errors.Join(errs...)
}

// removeUnfinished deletes a folder, unless its manifest has come since it was listed: then it was only slow.
func removeUnfinished(ctx context.Context, s store.Store, id string) (bool, error) {
	switch _, err := s.Stat(ctx, id+"/"+manifestName); {
	case err == nil:
		return false, nil
	case !errors.Is(err, store.ErrNotFound):
		return false, fmt.Errorf("look whether %s is finished: %w", id, err)
	}
	return true, remove(ctx, s, id)
}

// remove deletes a folder, its manifest first: a crash in between leaves what is no backup, never a backup without its
// data.
func remove(ctx context.Context, s store.Store, id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("%q is no backup's name", id)
	}
	if err := s.Delete(ctx, id+"/"+manifestName); err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	for o, err := range s.List(ctx, id+"/") {
		if err == nil {
			err = s.Delete(ctx, o.Key)
		}
		if err != nil {
			return fmt.Errorf("remove backup %s: %w", id, err)
		}
	}
	return nil
}
