package restore

import (
	"context"
	"errors"
)

// OfflineParams of Offline. The fields are the flags of `etcdutl snapshot restore`, with its defaults where nothing
// else is said.
type OfflineParams struct {
	Source  Source
	DataDir string // empty: <name>.etcd
	WALDir  string // empty: member/wal in DataDir; else absent or an empty directory

	Name           string   // --name; empty: default
	InitialCluster string   // --initial-cluster: name=url,...; empty: <name>=<PeerURLs>
	Token          string   // --initial-cluster-token; empty: random, which only a single member can have
	PeerURLs       []string // --initial-advertise-peer-urls; empty: http://localhost:2380

	BumpRevision  *uint64 // --bump-revision; nil: Margin; 0: neither bump nor mark
	MarkCompacted *bool   // --mark-compacted; nil: on with a bump
	SkipHashCheck bool    // accept a snapshot without a hash

	// Progress is called from time to time while bytes arrive, never at the same time twice; total is 0 if unknown.
	Progress func(done, total int64)
}

// Offline makes a data dir of a snapshot where there was none, with no agent and no cluster around.
func Offline(ctx context.Context, p OfflineParams) (Result, error) {
	return Result{}, errors.New("not yet")
}
