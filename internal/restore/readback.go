package restore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/snapshot"
)

// ErrTooNew: the data was written by an etcd newer than the one that is to be started (I22, P30).
var ErrTooNew = errors.New("the snapshot is of a newer etcd")

// readBack compares what is on disk with what was asked for, and fills in the ids.
func readBack(ctx context.Context, dir string, info snapshot.Info, r *Result) error {
	id, err := datadir.Inspect(ctx, dir, datadir.InspectOptions{WALTail: true})
	if err != nil {
		return err
	}
	if id.State != datadir.Present {
		return fmt.Errorf("state %s: %s", id.State, id.Why)
	}
	// The backend once more as a snapshot: structure of every page, form and number of all entries.
	db, err := snapshot.Verify(ctx, datadir.BackendPath(dir), snapshot.VerifyOptions{SkipHash: true})
	if err != nil {
		return err
	}
	switch {
	case !id.BackendRead:
		return errors.New("its backend is in use by another process")
	case len(id.Strays) > 0:
		return fmt.Errorf("unexpected files: %s", strings.Join(id.Strays, ", "))
	case id.TornTail:
		return errors.New("its WAL is incomplete")
	case id.Revision != r.Revision || id.CompactRevision != r.Revision:
		return fmt.Errorf("revision %d, compacted up to %d, both should be %d", id.Revision, id.CompactRevision, r.Revision)
	case len(id.Members) != 1 || len(id.Removed) != 0:
		return fmt.Errorf("%d members and %d removed ones, should be one and none", len(id.Members), len(id.Removed))
	case id.ConsistentIndex != id.CommitIndex || id.CommitIndex != id.LastIndex:
		return fmt.Errorf("backend at raft index %d, WAL committed %d of %d", id.ConsistentIndex, id.CommitIndex, id.LastIndex)
	case db.LiveKeys != info.LiveKeys || db.Leases != info.Leases:
		return fmt.Errorf("%d keys and %d leases, the snapshot has %d and %d", db.LiveKeys, db.Leases, info.LiveKeys, info.Leases)
	case db.TotalKeys != info.TotalKeys+1: // the mark of the bump
		return fmt.Errorf("%d entries, should be the snapshot's %d and the mark of the new revision", db.TotalKeys, info.TotalKeys)
	}
	m := id.Members[0]
	if m.ID != id.MemberID || m.Name != r.Name || len(m.PeerURLs) != 1 || m.PeerURLs[0] != r.PeerURL || m.IsLearner {
		return fmt.Errorf("member %x %s at %v, should be %x %s at %s", m.ID, m.Name, m.PeerURLs, id.MemberID, r.Name, r.PeerURL)
	}
	r.ClusterID, r.MemberID = id.ClusterID, id.MemberID
	r.Keys, r.Bytes = db.LiveKeys, db.Size
	return nil
}

// checkVersion: storage is major.minor, empty before 3.6, which every etcd since reads.
func checkVersion(storage, etcd string) error {
	if storage == "" || etcd == "" {
		return nil
	}
	sMajor, sMinor, err := majorMinor(storage)
	if err != nil {
		return fmt.Errorf("storage version of the snapshot: %w", err)
	}
	eMajor, eMinor, err := majorMinor(etcd)
	if err != nil {
		return fmt.Errorf("version of etcd: %w", err)
	}
	if sMajor > eMajor || sMajor == eMajor && sMinor > eMinor {
		return fmt.Errorf("%w: its storage version is %s, etcd here is %s; use etcd %s or newer", ErrTooNew, storage, etcd, storage)
	}
	return nil
}

func majorMinor(v string) (major, minor uint64, err error) {
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	if len(parts) >= 2 {
		if major, err = strconv.ParseUint(parts[0], 10, 32); err == nil {
			minor, err = strconv.ParseUint(parts[1], 10, 32)
		}
	}
	if len(parts) < 2 || err != nil {
		return 0, 0, fmt.Errorf("%q is not a version", v)
	}
	return major, minor, nil
}
