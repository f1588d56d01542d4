package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"clusteretcd.io/ceo/internal/datadir/backend"
)

// State of a data dir.
type State string

const (
	// None: no WAL file and no backend. An etcd started here would be new.
	None State = "none"
	// Present: a member's data, whole as far as it was read.
	Present State = "present"
	// Damaged: something of a member is there that etcd must not be started on; Identity.Why says what.
	Damaged State = "damaged"
)

// Member as the backend of a data dir knows it.
type Member = backend.Member

// IDs are in the WAL's metadata record: who wrote this data dir.
type IDs struct {
	ClusterID uint64 `json:"clusterID"`
	MemberID  uint64 `json:"memberID"`
}

// Identity is what a data dir says of itself. Which fields are filled depends on State and on InspectOptions; ids that
// could be read of a Damaged data dir are given too.
type Identity struct {
	State State  `json:"state"`
	Why   string `json:"why,omitempty"` // of Damaged: what is wrong; of None: what was looked for
	IDs

	// From the WAL, with InspectOptions.WALTail.
	WALRead     bool   `json:"walRead,omitempty"`
	Term        uint64 `json:"term,omitempty"`        // hard state
	CommitIndex uint64 `json:"commitIndex,omitempty"` // hard state
	LastTerm    uint64 `json:"lastTerm,omitempty"`    // of the last entry; entries above CommitIndex may be undone
	LastIndex   uint64 `json:"lastIndex,omitempty"`
	TornTail    bool   `json:"tornTail,omitempty"` // the last record is incomplete: normal after a power loss

	// From the backend, if BackendRead.
	BackendRead     bool     `json:"backendRead,omitempty"`
	Blank           bool     `json:"blank,omitempty"` // no key was ever written and no raft entry applied
	ConsistentIndex uint64   `json:"consistentIndex,omitempty"`
	Revision        int64    `json:"revision,omitempty"`
	CompactRevision int64    `json:"compactRevision,omitempty"`
	Members         []Member `json:"members,omitempty"`
	Removed         []uint64 `json:"removed,omitempty"`
	StorageVersion  string   `json:"storageVersion,omitempty"`
	ClusterVersion  string   `json:"clusterVersion,omitempty"`
	DBSize          int64    `json:"dbSize,omitempty"`  // bytes of the file
	DBInUse         int64    `json:"dbInUse,omitempty"` // bytes of pages in use, with InspectOptions.WalkBackend

	InUse  bool     `json:"inUse,omitempty"`  // a process (etcd) has the backend open for writing
	Strays []string `json:"strays,omitempty"` // what no etcd puts there (P19), relative to the data dir
}

// InspectOptions choose what costs more than a few reads.
type InspectOptions struct {
	// WALTail reads all WAL records (some hundreds of MB at most), for terms and indexes; damage in the middle of the
	// WAL is found only so.
	WALTail bool
	// WalkBackend reads every page of the backend, checks its structure and counts the pages in use. Not done while a
	// running etcd writes to it.
	WalkBackend bool
}

// Inspect reads a data dir. Damage is a State with its reason, never an error; an error means that it could not be
// read (permission, I/O), which says nothing about the data (I23). It does not panic on any content.
func Inspect(ctx context.Context, dataDir string, o InspectOptions) (id Identity, err error) {
	defer recovered(&id, &err)
	l, err := list(dataDir)
	if errors.Is(err, errDamaged) {
		return Identity{State: Damaged, Why: why(err)}, nil
	}
	if err != nil {
		return id, fmt.Errorf("inspect data dir %s: %w", dataDir, err)
	}
	id.Strays = l.strays
	if len(l.wals) == 0 && !l.db {
		id.State, id.Why = None, "no WAL file and no backend below "+MemberDir(dataDir)
		return id, nil
	}
	id.State = Present

	// The backend first: etcd writes an entry to the WAL before it applies it, so that in this order a running etcd can
	// not make the backend look newer than its WAL.
	dbErr := id.readBackend(ctx, dataDir, l, o)
	walErr := id.readWAL(ctx, dataDir, l.wals, o)
	for _, err := range []error{walErr, dbErr} {
		if err != nil && !errors.Is(err, errDamaged) {
			return Identity{}, fmt.Errorf("inspect data dir %s: %w", dataDir, err)
		}
	}
	id.Why = why(walErr, dbErr)
	if id.Why == "" {
		id.Why = contradiction(id)
	}
	if id.Why != "" {
		id.State = Damaged
	}
	return id, nil
}

// ReadIDs reads only the WAL's metadata records: a few KiB whatever the size of the data. Errors are as of Inspect,
// with fs.ErrNotExist when there is no WAL file, and ErrDamaged when there is one that does not say whose it is.
func ReadIDs(dataDir string) (ids IDs, err error) {
	defer recovered(&ids, &err)
	l, err := list(dataDir)
	if err != nil {
		return IDs{}, fmt.Errorf("read ids of data dir %s: %w", dataDir, err)
	}
	if len(l.wals) == 0 {
		return IDs{}, fmt.Errorf("no WAL file in %s: %w", WALDir(dataDir), fs.ErrNotExist)
	}
	if ids, err = readMetadata(WALDir(dataDir), l.wals); err != nil {
		return IDs{}, fmt.Errorf("read ids of data dir %s: %w", dataDir, err)
	}
	return ids, nil
}

// recovered is the last resort: a data dir is read by the first process of every etcd container, which must not die of
// what it finds. That says nothing about the data, so it is an error and not a State.
func recovered[T any](v *T, err *error) {
	if r := recover(); r != nil {
		var zero T
		*v, *err = zero, fmt.Errorf("reading the data dir failed: %v", r)
	}
}

// ErrDamaged is what ReadIDs wraps when the data says something impossible.
var ErrDamaged = errors.New("damaged")

var errDamaged = ErrDamaged

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errDamaged}, args...)...)
}

func why(errs ...error) string {
	s := ""
	for _, err := range errs {
		if err == nil {
			continue
		}
		if s != "" {
			s += "; "
		}
		s += trimDamaged(err.Error())
	}
	return s
}

func trimDamaged(s string) string {
	const prefix = "damaged: "
	for len(s) > len(prefix) && s[:len(prefix)] == prefix {
		s = s[len(prefix):]
	}
	return s
}

func (id *Identity) readWAL(ctx context.Context, dataDir string, wals []string, o InspectOptions) error {
	dir := WALDir(dataDir)
	if len(wals) == 0 {
		return damaged("there is a backend and no WAL file in %s", dir)
	}
	ids, err := readMetadata(dir, wals)
	if err != nil {
		return err
	}
	id.IDs = ids
	if !o.WALTail {
		return nil
	}
	t, err := readTail(ctx, dir, wals)
	if err != nil {
		return err
	}
	id.WALRead = true
	id.Term, id.CommitIndex = t.term, t.commit
	id.LastTerm, id.LastIndex = t.lastTerm, t.lastIndex
	id.TornTail = t.torn
	return nil
}

// contradiction finds what the WAL and the backend can not both say. A member that the backend does not list is no
// damage: it may have been removed, or its addition may be in the WAL only.
func contradiction(id Identity) string {
	if id.WALRead && id.ConsistentIndex > max(id.LastIndex, id.CommitIndex) && !id.TornTail {
		return fmt.Sprintf("the backend has applied raft index %d, the WAL ends at %d: the WAL lost its end or belongs to an older copy",
			id.ConsistentIndex, max(id.LastIndex, id.CommitIndex))
	}
	return ""
}

func openRegular(path string) (*os.File, int64, error) {
	f, err := os.Open(path) //nolint:gosec // below the data dir that the caller names
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = damaged("%s is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}
