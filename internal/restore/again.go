package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
)

// finishedOffline is for a restore that a crash ended after its one step: it clears away what was left, and gives the
// result if the data dir is still as it was made. ok is false where there was none.
func finishedOffline(ctx context.Context, p OfflineParams) (r Result, ok bool, err error) {
	f, err := look(p.DataDir)
	if err != nil {
		return r, false, err
	}
	if !f.member || len(f.others) > 0 {
		return r, false, nil
	}
	staging := datadir.StagingDir(p.DataDir, offlineID)
	if !f.staging {
		// The very last of it: directories that are empty, which these calls alone remove.
		_ = os.Remove(filepath.Dir(staging))
		_ = os.Remove(filepath.Dir(filepath.Dir(staging)))
		return r, false, nil
	}
	if st, err := os.Lstat(datadir.MemberDir(staging)); err == nil && st.IsDir() {
		return r, false, nil // never put in place: the member is another's
	}
	place := &place{dir: p.DataDir}
	if ours, _, err := isBlocker(datadir.MemberDir(staging)); err == nil && ours {
		if place.lock, _, err = openBlocker(datadir.MemberDir(staging)); err != nil {
			return r, false, err
		}
	}
	defer place.unlock()
	staged, err := datadir.ReadStaged(p.DataDir, offlineID)
	if err != nil && !errors.Is(err, datadir.ErrUnfinished) {
		return r, false, err
	}
	ok = err == nil && json.Unmarshal(staged.Detail, &r) == nil && p.same(r) && untouched(ctx, p, r)

	// It is whole: what is in the way of it, and what is left of its making, can go.
	if f.touch {
		if err := os.RemoveAll(filepath.Join(p.DataDir, touchName)); err != nil {
			return r, false, err
		}
		if err := durable.SyncDir(p.DataDir); err != nil {
			return r, false, err
		}
	}
	if mark, err := durable.ReadJSON[walMark](filepath.Join(p.WALDir, walMarker)); p.WALDir != "" && err == nil && mark.DataDir == p.DataDir {
		(&walPlace{dir: p.WALDir}).done()
	}
	place.done()
	if !ok {
		return Result{}, false, fmt.Errorf("an earlier restore had finished: %w", f.occupied(p.DataDir))
	}
	return r, true, nil
}

// same: asked for the same, as far as the record says.
func (p OfflineParams) same(r Result) bool {
	_, self, err := p.membership().cluster()
	return err == nil && r.Snapshot == p.Source.Name() && r.Name == p.Name && r.PeerURL == joined(self.PeerURLs)
}

// untouched: no etcd has run on it. The first thing that one does is to add to the raft log, and to apply that.
func untouched(ctx context.Context, p OfflineParams, r Result) bool {
	id, err := datadir.Inspect(ctx, p.DataDir, datadir.InspectOptions{WALTail: true})
	if err != nil || !id.BackendRead || id.InUse || id.Revision != r.Revision || id.ConsistentIndex != uint64(len(id.Members)) {
		return false
	}
	if p.WALDir != "" {
		return true
	}
	return id.State == datadir.Present && id.LastIndex == id.ConsistentIndex && id.Term == firstTerm
}
