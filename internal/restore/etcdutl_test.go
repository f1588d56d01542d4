package restore_test

import (
	"context"
	"fmt"

	etcdutl "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

// library builds with etcd's own code: a copy, a second read for the hash, and four openings of the backend. It is what
// Native's results are compared with.
type library struct{}

// Build implements restore.Builder, of local files.
func (library) Build(ctx context.Context, b restore.Build) (info snapshot.Info, e restore.Elapsed, err error) {
	if info, err = snapshot.Verify(ctx, b.Source.Path, snapshot.VerifyOptions{SkipHash: b.SkipHash}); err != nil {
		return info, e, err
	}
	revision, err := b.Revise(info)
	if err != nil {
		return info, e, err
	}
	// The library panics where a disk fails, through its logger. Fatal would even end this process.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("etcd's restore gave up: %v", r)
		}
	}()
	c := etcdutl.RestoreConfig{
		SnapshotPath:        b.Source.Path,
		Name:                b.Name,
		OutputDataDir:       b.Dir,
		PeerURLs:            b.PeerURLs,
		InitialCluster:      b.Initial,
		InitialClusterToken: b.Token,
		SkipHashCheck:       !info.HashPresent,
	}
	if c.InitialCluster == "" {
		c.InitialCluster = b.Name + "=" + b.PeerURLs[0]
	}
	if revision != 0 {
		c.RevisionBump, c.MarkCompacted = uint64(revision-info.LastKeyRevision), true
	}
	log := zap.NewNop().WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic))
	if err := etcdutl.NewV3(log).Restore(c); err != nil {
		return info, e, fmt.Errorf("etcd's restore: %w", err)
	}
	return info, e, ctx.Err()
}
