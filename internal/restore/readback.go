package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/version"

	"clusteretcd.io/ceo/internal/datadir"
)

// ErrTooNew: the data was written by an etcd newer than the one that is to be started (I22, P30).
var ErrTooNew = errors.New("the snapshot is of a newer etcd")

// want is what must be found.
type want struct {
	dir                 string
	revision, compacted int64
	members             int
}

// readBack compares what is on disk with what was asked for, and fills in the ids. It reads a few pages of the backend
// and the WAL's records. The rest of the pages is what was checked as it arrived, from the buffers that were written;
// the transaction wrote pages of its own and changed none of them.
func readBack(ctx context.Context, w want, r *Result) error {
	id, err := datadir.Inspect(ctx, w.dir, datadir.InspectOptions{WALTail: true})
	if err != nil {
		return err
	}
	if id.State != datadir.Present {
		return fmt.Errorf("state %s: %s", id.State, id.Why)
	}
	switch {
	case !id.BackendRead || id.InUse:
		return errors.New("its backend is in use by another process")
	case len(id.Strays) > 0:
		return fmt.Errorf("unexpected files: %s", strings.Join(id.Strays, ", "))
	case id.TornTail:
		return errors.New("its WAL is incomplete")
	case id.Revision != w.revision || id.CompactRevision != w.compacted:
		return fmt.Errorf("revision %d, compacted up to %d, should be %d and %d", id.Revision, id.CompactRevision, w.revision, w.compacted)
	case len(id.Members) != w.members || len(id.Removed) != 0:
		return fmt.Errorf("%d members and %d removed ones, should be %d and none", len(id.Members), len(id.Removed), w.members)
	case id.ConsistentIndex != id.CommitIndex || id.CommitIndex != id.LastIndex:
		return fmt.Errorf("backend at raft index %d, WAL committed %d of %d", id.ConsistentIndex, id.CommitIndex, id.LastIndex)
	}
	i := slices.IndexFunc(id.Members, func(m datadir.Member) bool { return m.ID == id.MemberID })
	if i < 0 {
		return fmt.Errorf("its WAL is of member %x, which is not among %v", id.MemberID, id.Members)
	}
	if m := id.Members[i]; m.Name != r.Name || joined(m.PeerURLs) != r.PeerURL || m.IsLearner {
		return fmt.Errorf("member %x is %s at %v, should be %s at %s", m.ID, m.Name, m.PeerURLs, r.Name, r.PeerURL)
	}
	r.ClusterID, r.MemberID, r.Bytes = id.ClusterID, id.MemberID, id.DBSize
	return nil
}

// checkVersions compares with what this program knows, and with the etcd that will be started, empty if that is not known.
// What a storage version adds may need an edit of its own, so data of a newer one is not edited.
func checkVersions(storage, etcd string) error {
	err := checkVersion(storage, version.Version)
	if errors.Is(err, ErrTooNew) {
		return fmt.Errorf("%w: its storage version is %s, and this ceo knows those up to etcd %s; use a newer ceo", ErrTooNew, storage, version.Version)
	}
	if err != nil {
		return err
	}
	return checkVersion(storage, etcd)
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
