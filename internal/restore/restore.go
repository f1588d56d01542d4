// Package restore makes the data dir of a new single-member cluster out of a snapshot, offline.
//
// It builds beside the data, on the same file system, and puts nothing in place: the caller archives what is there and
// activates what was staged (package datadir), so that no moment exists in which etcd could start on half of it (I2).
package restore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/snapshot"
)

// Params of Stage.
type Params struct {
	Snapshot  string
	DataDir   string // where it will live; its member directory is not touched
	StagingID string // names this build; the same id gives the same result (I20)

	Name    string // the member's, the node's name (P20)
	PeerURL string
	Token   string // empty: a fresh random one, which is what a recovery wants (P1)

	ServedRevision int64  // the highest revision known to have been served; 0: unknown
	SkipHashCheck  bool   // accept a snapshot without a hash
	EtcdVersion    string // of the etcd that will be started; empty: not compared
}

// Result is what was staged.
type Result struct {
	ClusterID        uint64 `json:"clusterID"`
	MemberID         uint64 `json:"memberID"`
	Token            string `json:"token"`
	Name             string `json:"name"`
	PeerURL          string `json:"peerURL"`
	Snapshot         string `json:"snapshot"`
	SnapshotSHA256   string `json:"snapshotSHA256"`
	SnapshotRevision int64  `json:"snapshotRevision"`
	Revision         int64  `json:"revision"` // after the bump; everything up to it is compacted
	Keys             int64  `json:"keys"`     // that exist
	Bytes            int64  `json:"bytes"`    // of the new backend
}

// ErrOtherParams: the staging id was used for something else.
var ErrOtherParams = errors.New("this staging id was used for another restore; discard it or use another one")

// Stage verifies the snapshot whole, builds, reads back what was built, flushes it and only then writes the record
// that Activate demands. Asked again with the same id it returns the finished result, or builds anew what a crash left
// unfinished.
func Stage(ctx context.Context, p Params) (Result, error) { return StageWith(ctx, Etcdutl{}, p) }

// StageWith is Stage with another Builder.
func StageWith(ctx context.Context, b Builder, p Params) (Result, error) {
	r, err := stage(ctx, b, p)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s beside %s: %w", p.Snapshot, p.DataDir, err)
	}
	return r, nil
}

func stage(ctx context.Context, b Builder, p Params) (Result, error) {
	if err := p.check(); err != nil {
		return Result{}, err
	}
	r, err := finished(p)
	if err == nil || !errors.Is(err, datadir.ErrUnfinished) {
		return r, err
	}
	// All that can refuse comes before the first byte is written (P13, I25).
	info, err := snapshot.Verify(ctx, p.Snapshot, snapshot.VerifyOptions{SkipHash: p.SkipHashCheck})
	if err != nil {
		return Result{}, err
	}
	if err := checkVersion(info.StorageVersion, p.EtcdVersion); err != nil {
		return Result{}, err
	}
	by, err := BumpBy(info.Revision, p.ServedRevision)
	if err != nil {
		return Result{}, err
	}
	if err := checkSpace(p.DataDir, info.Size); err != nil {
		return Result{}, err
	}
	if p.Token == "" {
		if p.Token, err = newToken(); err != nil {
			return Result{}, err
		}
	}
	r = Result{
		Token: p.Token, Name: p.Name, PeerURL: p.PeerURL,
		Snapshot: p.Snapshot, SnapshotSHA256: info.SHA256, SnapshotRevision: info.Revision,
		Revision: info.Revision + int64(by), //nolint:gosec // BumpBy keeps the sum within int64
	}
	if err := build(ctx, b, p, info, &r); err != nil {
		// Free the space: on a full disk the unfinished copy would be in the way of the next try. A failure to do so
		// is not the news; the next try clears it.
		_ = datadir.DiscardStaging(p.DataDir, p.StagingID)
		return Result{}, err
	}
	return r, nil
}

func build(ctx context.Context, b Builder, p Params, info snapshot.Info, r *Result) error {
	if err := datadir.BeginStaging(p.DataDir, p.StagingID); err != nil {
		return err
	}
	dir := datadir.StagingDir(p.DataDir, p.StagingID)
	err := b.Build(ctx, Build{
		Snapshot: p.Snapshot, HasHash: info.HashPresent, Dir: dir,
		Name: p.Name, PeerURL: p.PeerURL, Token: p.Token,
		// Counted from the last entry, which is what the library raises; after a compaction of deletes at the end the
		// store's revision is above it, and a bump counted from there would fall short.
		RaiseBy: uint64(r.Revision - info.LastKeyRevision), //nolint:gosec // Revision is at least Margin above
	})
	if err != nil {
		return err
	}
	if err := readBack(ctx, dir, info, r); err != nil {
		return fmt.Errorf("what was built is not what was asked for: %w", err)
	}
	detail, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return datadir.FinishStaging(p.DataDir, p.StagingID, datadir.Staged{
		IDs:      datadir.IDs{ClusterID: r.ClusterID, MemberID: r.MemberID},
		Revision: r.Revision, Token: r.Token, At: time.Now().UTC(), Detail: detail,
	})
}

// finished gives the result of a build that is complete; datadir.ErrUnfinished if there is none.
func finished(p Params) (Result, error) {
	s, err := datadir.ReadStaged(p.DataDir, p.StagingID)
	if err != nil {
		return Result{}, err
	}
	var r Result
	if err := json.Unmarshal(s.Detail, &r); err != nil {
		return Result{}, fmt.Errorf("%w (its record: %w)", ErrOtherParams, err)
	}
	if r.Name != p.Name || r.PeerURL != p.PeerURL || r.Snapshot != p.Snapshot || (p.Token != "" && p.Token != r.Token) {
		return Result{}, fmt.Errorf("%w: it was %s as %s at %s", ErrOtherParams, r.Snapshot, r.Name, r.PeerURL)
	}
	if r.Revision <= p.ServedRevision {
		return Result{}, fmt.Errorf("%w: it begins at revision %d, and %d is now known to have been served",
			ErrOtherParams, r.Revision, p.ServedRevision)
	}
	return r, nil
}

func (p Params) check() error {
	switch {
	case p.Snapshot == "" || p.DataDir == "" || p.StagingID == "" || p.Name == "":
		return errors.New("snapshot, data dir, staging id and member name are all needed")
	case !filepath.IsAbs(p.DataDir):
		return fmt.Errorf("data dir %s is not an absolute path", p.DataDir)
	}
	u, err := url.Parse(p.PeerURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("peer URL %q is not of the form https://ADDRESS:PORT", p.PeerURL)
	}
	return nil
}

// checkSpace wants twice the database: the copy, and as much again for etcd to run before someone looks at the disk;
// and the WAL's preallocated files.
func checkSpace(dataDir string, size int64) error {
	const walFiles = 2 * 64_000_000
	dir := dataDir
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return datadir.RequireSpace(dir, 2*uint64(max(size, 0))+walFiles)
}

// newToken: etcd derives the cluster id from the peer URLs and the token. With the default token a restored member
// would have the very ids of the old cluster, and the old cluster's members would talk to it as to their own (P1).
func newToken() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("new cluster token: %w", err)
	}
	return "ceo-" + hex.EncodeToString(b[:]), nil
}
