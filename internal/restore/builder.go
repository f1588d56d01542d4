package restore

import (
	"context"
	"fmt"

	// etcd's own restore writes the membership, the first WAL entries and the raft snapshot just as the server of the
	// same version reads them.
	etcdutl "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Build is what a Builder is asked for.
type Build struct {
	Snapshot string // verified by the caller
	HasHash  bool
	Dir      string // the new data dir, empty or absent
	Name     string
	PeerURL  string
	Token    string
	// RaiseBy is added to the revision of the snapshot's last entry; the result is marked compacted.
	RaiseBy uint64
}

// Builder makes a single-member data dir of a snapshot. It need not be atomic, nor flush, nor prove anything: Stage
// does, with whatever was built.
type Builder interface {
	Build(ctx context.Context, b Build) error
}

// Etcdutl builds with etcd's own library: a copy, a second read for the hash, and four openings of the backend.
type Etcdutl struct{}

// Build implements Builder. The library can not be interrupted: ctx is looked at before and after.
func (Etcdutl) Build(ctx context.Context, b Build) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	// The library panics where a disk fails, through its logger. Fatal would even end this process.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("etcd's restore gave up: %v", r)
		}
	}()
	log := zap.NewNop().WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic))
	err = etcdutl.NewV3(log).Restore(etcdutl.RestoreConfig{
		SnapshotPath:        b.Snapshot,
		Name:                b.Name,
		OutputDataDir:       b.Dir,
		PeerURLs:            []string{b.PeerURL},
		InitialCluster:      b.Name + "=" + b.PeerURL,
		InitialClusterToken: b.Token,
		// Where there is a hash the library compares it again, on its own copy: the file could have changed since.
		SkipHashCheck: !b.HasHash,
		RevisionBump:  b.RaiseBy,
		MarkCompacted: true,
	})
	if err != nil {
		return fmt.Errorf("etcd's restore: %w", err)
	}
	return ctx.Err()
}
