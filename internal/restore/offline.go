package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/snapshot"
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
	PeerURLs       []string // --initial-advertise-peer-urls; empty: those of Name in InitialCluster, or http://localhost:2380

	BumpRevision  *uint64 // --bump-revision; nil: Margin; 0: neither bump nor mark
	MarkCompacted *bool   // --mark-compacted; nil: on with a bump
	SkipHashCheck bool    // accept a snapshot without a hash
	EtcdVersion   string  // of the etcd that is to be started on it; empty: not compared

	// Progress is called from time to time while bytes arrive, never at the same time twice; total is 0 if unknown.
	Progress func(done, total int64)
}

// Offline makes a data dir of a snapshot where there was none, with no agent and no cluster around.
//
// DataDir must not exist or be empty; what an interrupted restore left in it is cleared away. Something else there is
// datadir.ErrOccupied. Until all is verified and flushed an etcd that is started on DataDir refuses; then it is whole,
// by one step of the file system (I2). If it fails or ctx ends, DataDir is as it was before. After a crash the same
// call finishes, or begins anew (I20).
func Offline(ctx context.Context, p OfflineParams) (Result, error) {
	p, err := p.resolve()
	if err == nil {
		var r Result
		if r, err = offline(ctx, p); err == nil {
			return r, nil
		}
	}
	return Result{}, fmt.Errorf("restore %s into %s: %w", p.Source.Name(), p.DataDir, err)
}

// resolve fills in the defaults and refuses what can not be meant.
func (p OfflineParams) resolve() (OfflineParams, error) {
	const name, url = "default", "http://localhost:2380"
	if p.Name == "" {
		p.Name = name
	}
	if p.DataDir == "" {
		p.DataDir = p.Name + ".etcd"
	}
	var err error
	if p.DataDir, err = filepath.Abs(p.DataDir); err != nil {
		return p, err
	}
	if p.WALDir, err = absoluteWAL(p.DataDir, p.WALDir); err != nil {
		return p, err
	}
	if len(p.PeerURLs) == 0 {
		p.PeerURLs = urlsOf(p.Name, p.InitialCluster)
	}
	if len(p.PeerURLs) == 0 {
		p.PeerURLs = []string{url}
	}
	if err := p.checkRevision(); err != nil {
		return p, err
	}
	c, _, err := p.membership().cluster()
	if err != nil {
		return p, err
	}
	if p.Token != "" {
		return p, nil
	}
	if n := len(c.Members()); n > 1 {
		return p, fmt.Errorf("the initial cluster names %d members, and each one's restore needs the same "+
			"--initial-cluster-token: choose one that no cluster had before, and give it to all of them", n)
	}
	p.Token, err = newToken()
	return p, err
}

func (p OfflineParams) membership() Membership {
	return Membership{Name: p.Name, PeerURLs: p.PeerURLs, Initial: p.InitialCluster, Token: p.Token}
}

// urlsOf name in name=url,name=url,...; what does not parse is reported later.
func urlsOf(name, initial string) (urls []string) {
	for part := range strings.SplitSeq(initial, ",") {
		if n, url, ok := strings.Cut(part, "="); ok && n == name {
			urls = append(urls, url)
		}
	}
	return urls
}

// checkRevision: a bump without a mark lets clients with an old revision wait for one that never comes (P3), a mark
// without a bump compacts what they may still hold. etcdutl refuses both too.
func (p OfflineParams) checkRevision() error {
	bump := p.BumpRevision == nil || *p.BumpRevision > 0
	if p.MarkCompacted != nil && *p.MarkCompacted != bump {
		return errors.New("--bump-revision and --mark-compacted belong together: both or, with --bump-revision 0, neither")
	}
	return nil
}

// revise gives the revision to begin at, 0 to leave it.
func (p OfflineParams) revise(info snapshot.Info) (int64, error) {
	switch {
	case p.BumpRevision == nil:
		by, err := BumpBy(info.Revision, 0)
		return info.Revision + int64(by), err //nolint:gosec // BumpBy keeps the sum within int64
	case *p.BumpRevision == 0:
		return 0, nil
	case *p.BumpRevision > uint64(math.MaxInt64-info.Revision): //nolint:gosec // not negative
		return 0, fmt.Errorf("revision %d can not be raised by %d", info.Revision, *p.BumpRevision)
	}
	return info.Revision + int64(*p.BumpRevision), nil //nolint:gosec // checked
}

func (p OfflineParams) accept(info snapshot.Info) error {
	if err := checkVersions(info.StorageVersion, p.EtcdVersion); err != nil {
		return err
	}
	_, err := p.revise(info)
	return err
}

// offlineID names the staging directory.
const offlineID = "restore"

func offline(ctx context.Context, p OfflineParams) (r Result, err error) {
	if r, ok, err := finishedOffline(ctx, p); ok || err != nil {
		return r, err
	}
	size, err := preflight(ctx, p.Source, p.SkipHashCheck, p.accept)
	if err != nil {
		return r, err
	}
	if err := checkSpace(p.DataDir, size); err != nil {
		return r, err
	}
	place, err := claimDir(p.DataDir)
	if err != nil {
		return r, err
	}
	wal, err := claimWAL(p.WALDir, p.DataDir)
	if err == nil {
		r, err = buildOffline(ctx, p, wal)
	}
	if err == nil {
		err = wal.put()
	}
	if err == nil {
		err = ctx.Err() // the last moment to change one's mind
	}
	if err == nil {
		err = place.put()
	}
	if place.whole {
		wal.done()
		if err != nil {
			return Result{}, fmt.Errorf("%w; all of the data is in its place: the same restore again puts the rest right", err)
		}
	}
	if err != nil {
		return Result{}, noSpace(p.DataDir, size, errors.Join(err, wal.undo(), place.undo()))
	}
	place.done()
	return r, nil
}

func buildOffline(ctx context.Context, p OfflineParams, wal *walPlace) (Result, error) {
	if err := datadir.BeginStaging(p.DataDir, offlineID); err != nil {
		return Result{}, err
	}
	durable.Point("restore: staging begun")
	dir := datadir.StagingDir(p.DataDir, offlineID)
	info, elapsed, err := Native{}.Build(ctx, Build{
		Source: p.Source, SkipHash: p.SkipHashCheck, Dir: dir, WALDir: wal.building(dir),
		Membership: p.membership(),
		Revise: func(info snapshot.Info) (int64, error) {
			if err := sameSum(p.Source.SHA256, info); err != nil {
				return 0, err
			}
			if err := p.accept(info); err != nil {
				return 0, err
			}
			return p.revise(info)
		},
		Progress: p.Progress,
	})
	if err != nil {
		return Result{}, err
	}
	begin := time.Now()
	r, err := p.proveOffline(ctx, dir, info, wal)
	if err != nil {
		return Result{}, err
	}
	detail, err := json.Marshal(r)
	if err != nil {
		return Result{}, err
	}
	err = datadir.FinishStaging(p.DataDir, offlineID, datadir.Staged{
		IDs:      datadir.IDs{ClusterID: r.ClusterID, MemberID: r.MemberID},
		Revision: r.Revision, Token: r.Token, At: time.Now().UTC(), Detail: detail,
	})
	elapsed.Flush += time.Since(begin)
	r.Elapsed = elapsed
	return r, err
}

// proveOffline reads back what was built.
func (p OfflineParams) proveOffline(ctx context.Context, dir string, info snapshot.Info, wal *walPlace) (Result, error) {
	c, self, err := p.membership().cluster()
	if err != nil {
		return Result{}, err
	}
	r := Result{
		Token: p.Token, Name: p.Name, PeerURL: joined(self.PeerURLs),
		Snapshot: p.Source.Name(), SnapshotSHA256: info.SHA256, SnapshotRevision: info.Revision,
		Revision: info.Revision, Keys: info.LiveKeys,
	}
	w := want{dir: dir, members: len(c.Members()), revision: info.Revision, compacted: info.CompactRevision}
	revision, err := p.revise(info)
	if err != nil {
		return Result{}, err
	}
	if revision != 0 {
		w.revision, w.compacted, r.Revision = revision, revision, revision
	}
	unlink, err := wal.link(dir)
	if err != nil {
		return Result{}, err
	}
	err = readBack(ctx, w, &r)
	if err != nil {
		err = fmt.Errorf("what was built is not what was asked for: %w", err)
	}
	return r, errors.Join(err, unlink())
}
