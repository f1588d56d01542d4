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
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/snapshot"
)

// Params of Stage.
type Params struct {
	Snapshot string // a local file; with Open only a name for messages and the result
	// Open begins a stream of the snapshot instead; see Source, for Size and SHA256 too.
	Open   func(ctx context.Context) (io.ReadCloser, error)
	Size   int64
	SHA256 string

	DataDir   string // where it will live; its member directory is not touched
	StagingID string // names this build; the same id gives the same result (I20)

	Name    string // the member's, the node's name (P20)
	PeerURL string
	Token   string // empty: a fresh random one, which is what a recovery wants (P1)

	ServedRevision int64  // the highest revision known to have been served; 0: unknown
	SkipHashCheck  bool   // accept a snapshot without a hash
	EtcdVersion    string // of the etcd that will be started; empty: not compared

	Progress func(done, total int64) // see OfflineParams
}

func (p Params) source() Source {
	if p.Open == nil {
		return Source{Path: p.Snapshot, SHA256: p.SHA256}
	}
	return Source{Open: p.Open, Label: p.Snapshot, Size: p.Size, SHA256: p.SHA256}
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
	Keys             int64  `json:"keys"`     // that exist; -1: not counted
	Bytes            int64  `json:"bytes"`    // of the new backend

	Elapsed Elapsed `json:"-"` // zero when what was asked for had been staged before
}

// ErrOtherParams: the staging id was used for something else.
var ErrOtherParams = errors.New("this staging id was used for another restore; discard it or use another one")

// Stage builds in one pass over the source, which is verified whole on the way, reads back what was built, flushes it
// and only then writes the record that Activate demands. Asked again with the same id it returns the finished result,
// or builds anew what a crash left unfinished.
func Stage(ctx context.Context, p Params) (Result, error) { return StageWith(ctx, Native{}, p) }

// StageWith is Stage with another Builder.
func StageWith(ctx context.Context, b Builder, p Params) (Result, error) {
	r, err := stage(ctx, b, p)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s beside %s: %w", p.Snapshot, p.DataDir, err)
	}
	return r, nil
}

func stage(ctx context.Context, b Builder, p Params) (r Result, err error) {
	if err := p.check(); err != nil {
		return Result{}, err
	}
	r, err = finished(p)
	if err == nil || !errors.Is(err, datadir.ErrUnfinished) {
		return r, err
	}
	// What a few pages can tell comes before the first byte is written (P13, I25); what only the whole can is found
	// while it goes to staging, where it replaces nothing.
	size, err := preflight(ctx, p.source(), p.SkipHashCheck, p.accept)
	if err != nil {
		return Result{}, err
	}
	if err := checkSpace(p.DataDir, size); err != nil {
		return Result{}, err
	}
	if p.Token == "" {
		if p.Token, err = newToken(); err != nil {
			return Result{}, err
		}
	}
	r = Result{Token: p.Token, Name: p.Name, PeerURL: p.PeerURL, Snapshot: p.Snapshot}
	made, err := missing(filepath.Dir(datadir.StagingDir(p.DataDir, p.StagingID)))
	if err != nil {
		return Result{}, err
	}
	if err := build(ctx, b, p, &r); err != nil {
		// Free the space: on a full disk the unfinished copy would be in the way of the next try. A failure to do so
		// is not the news; the next try clears it.
		_ = datadir.DiscardStaging(p.DataDir, p.StagingID)
		for _, dir := range made {
			_ = os.Remove(dir) // only if it is empty
		}
		return Result{}, noSpace(p.DataDir, size, err)
	}
	return r, nil
}

// accept refuses what must not become this data dir.
func (p Params) accept(info snapshot.Info) error {
	if err := checkVersions(info.StorageVersion, p.EtcdVersion); err != nil {
		return err
	}
	_, err := p.revise(info)
	return err
}

func (p Params) revise(info snapshot.Info) (int64, error) {
	by, err := BumpBy(info.Revision, p.ServedRevision)
	return info.Revision + int64(by), err //nolint:gosec // BumpBy keeps the sum within int64
}

func build(ctx context.Context, b Builder, p Params, r *Result) error {
	if err := datadir.BeginStaging(p.DataDir, p.StagingID); err != nil {
		return err
	}
	durable.Point("restore: staging begun")
	dir := datadir.StagingDir(p.DataDir, p.StagingID)
	w := want{dir: dir, members: 1}
	info, elapsed, err := b.Build(ctx, Build{
		Source: p.source(), SkipHash: p.SkipHashCheck, Dir: dir, WALDir: datadir.WALDir(dir),
		Membership: Membership{Name: p.Name, PeerURLs: []string{p.PeerURL}, Token: p.Token},
		Revise: func(info snapshot.Info) (int64, error) {
			if err := sameSum(p.SHA256, info); err != nil {
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
		return err
	}
	begin := time.Now()
	// From what was in it, not from what the builder was told: this is what it must have come to.
	if w.revision, err = p.revise(info); err != nil {
		return err
	}
	w.compacted = w.revision
	r.SnapshotSHA256, r.SnapshotRevision, r.Revision, r.Keys = info.SHA256, info.Revision, w.revision, info.LiveKeys
	if err := readBack(ctx, w, r); err != nil {
		return fmt.Errorf("what was built is not what was asked for: %w", err)
	}
	detail, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = datadir.FinishStaging(p.DataDir, p.StagingID, datadir.Staged{
		IDs:      datadir.IDs{ClusterID: r.ClusterID, MemberID: r.MemberID},
		Revision: r.Revision, Token: r.Token, At: time.Now().UTC(), Detail: detail,
	})
	elapsed.Flush += time.Since(begin)
	r.Elapsed = elapsed
	return err
}

// sameSum: want is in hex, empty when nobody knows.
func sameSum(want string, info snapshot.Info) error {
	if want != "" && !strings.EqualFold(want, info.SHA256) {
		return fmt.Errorf("%w: its SHA-256 is %s, should be %s", snapshot.ErrHashMismatch, info.SHA256, want)
	}
	return nil
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

// newToken: etcd derives the cluster id from the peer URLs and the token. With the default token a restored member
// would have the very ids of the old cluster, and the old cluster's members would talk to it as to their own (P1).
func newToken() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("new cluster token: %w", err)
	}
	return "ceo-" + hex.EncodeToString(b[:]), nil
}
