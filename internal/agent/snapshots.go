package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/recovery"
	"clusteretcd.io/ceo/internal/restore"
	"clusteretcd.io/ceo/internal/snapshot"
)

var (
	digest   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

func isDigest(ref string) bool { return digest.MatchString(ref) }

// incoming is where a snapshot that was put on this node lies: on the data
// dir's file system, where it is restored.
func (a *Agent) incoming(sha string) string {
	return filepath.Join(a.Config().DataDir, ".ceo", "incoming", sha+".db")
}

// locate finds a snapshot by its reference: the digest of one that was put
// here, or a file's name in the backup folder. Nothing else can be named, so
// that no caller reads the node's other files.
func (a *Agent) locate(ref string) (string, error) {
	switch {
	case isDigest(ref):
		return a.incoming(ref), nil
	case strings.HasPrefix(ref, backupPrefix):
		if _, sum, ok := parseBackup(ref); ok && sum != "" {
			return a.incoming(sum), nil
		}
	case fileName.MatchString(ref):
		return filepath.Join(a.paths.Backups(), ref), nil
	}
	return "", status.Errorf(codes.InvalidArgument, "%q is neither a digest nor a file's name in %s", ref, a.paths.Backups())
}

// PutSnapshot implements agentpb.AgentServer.
func (a *Agent) PutSnapshot(s grpc.ClientStreamingServer[agentpb.SnapshotChunk, agentpb.SnapshotInfo]) (err error) {
	dir := filepath.Dir(a.incoming(""))
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return toStatus(err)
	}
	tmp := filepath.Join(dir, fmt.Sprintf("put-%d", time.Now().UnixNano()))
	part, err := snapshot.Receive(tmp)
	if err != nil {
		return toStatus(err)
	}
	defer func() {
		if err != nil {
			err = toStatus(errors.Join(err, part.Abort()))
		}
	}()
	for {
		c, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.InvalidArgument, "the snapshot's stream ended before its digest: it is not whole, nothing was kept")
		}
		if err != nil {
			return err
		}
		t := c.GetTrailer()
		if t == nil {
			if err := a.roomFor(uint64(len(c.GetData()))); err != nil {
				return err
			}
			if _, err := part.Write(c.GetData()); err != nil {
				return err
			}
			continue
		}
		if !isDigest(t.GetSha256()) {
			return status.Error(codes.InvalidArgument, "the digest is no SHA-256")
		}
		if err := part.Commit(t.GetSha256(), t.GetSize()); err != nil {
			return err
		}
		if err := durable.Rename(tmp, a.incoming(t.GetSha256())); err != nil {
			return err
		}
		return s.SendAndClose(&agentpb.SnapshotInfo{Sha256: t.GetSha256(), Size: t.GetSize()})
	}
}

// reserve stays free on the data dir's file system whatever is put there: a
// full disk stops an etcd that still runs (P27).
const reserve = 32 << 20

func (a *Agent) roomFor(n uint64) error {
	free, _, err := datadir.Space(a.Config().DataDir)
	if err != nil {
		return err
	}
	if free < n+reserve {
		return status.Errorf(codes.ResourceExhausted, "the disk of %s has %s free, and receiving the snapshot must leave %s (P27): free space there, or put the snapshot into %s on this node", a.Config().DataDir, recovery.Bytes(free), recovery.Bytes(reserve), a.paths.Backups())
	}
	return nil
}

// TakeSnapshot implements agentpb.AgentServer. gRPC's flow control is the
// backpressure: one chunk is in hand at a time.
func (a *Agent) TakeSnapshot(_ *agentpb.TakeSnapshotRequest, s grpc.ServerStreamingServer[agentpb.SnapshotChunk]) error {
	ctx := s.Context()
	c, err := a.etcd.client(ctx)
	if err != nil {
		return status.Errorf(codes.Unavailable, "etcd on %s cannot be asked for a snapshot: %v", a.Config().Name, err)
	}
	r, err := c.Snapshot(ctx)
	if err != nil {
		a.etcd.drop(c)
		return toStatus(err)
	}
	defer func() { _ = r.Close() }()
	if err := sendSnapshot(r, s); err != nil {
		return toStatus(fmt.Errorf("read the snapshot of %s's etcd: %w", a.Config().Name, err))
	}
	return nil
}

// verifiedCache remembers what was verified of a file that has not changed
// since: a plan that is shown and then run would read it three times.
type verifiedCache struct {
	mu sync.Mutex
	m  map[string]verifiedFile
}

type verifiedFile struct {
	size int64
	mod  time.Time
	info snapshot.Info
}

// verify reads a snapshot whole. fresh reads it again even if it was.
func (a *Agent) verify(ctx context.Context, ref string, skipHash, fresh bool) (snapshot.Info, error) {
	ref, err := a.resolve(ctx, ref)
	if err != nil {
		return snapshot.Info{}, err
	}
	if err := a.bring(ctx, ref); err != nil {
		return snapshot.Info{}, err
	}
	path, err := a.locate(ref)
	if err != nil {
		return snapshot.Info{}, err
	}
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return snapshot.Info{}, status.Errorf(codes.NotFound, "no snapshot %s on %s", path, a.Config().Name)
	}
	if err != nil {
		return snapshot.Info{}, toStatus(err)
	}
	if !st.Mode().IsRegular() {
		return snapshot.Info{}, status.Errorf(codes.InvalidArgument, "%s is no regular file", path)
	}
	key := fmt.Sprintf("%s %t", path, skipHash)
	a.verified.mu.Lock()
	v, ok := a.verified.m[key]
	a.verified.mu.Unlock()
	if ok && !fresh && v.size == st.Size() && v.mod.Equal(st.ModTime()) {
		return v.info, nil
	}
	info, err := snapshot.Verify(ctx, path, snapshot.VerifyOptions{SkipHash: skipHash})
	if err != nil {
		return snapshot.Info{}, err
	}
	a.verified.mu.Lock()
	defer a.verified.mu.Unlock()
	if a.verified.m == nil || len(a.verified.m) > 64 {
		a.verified.m = map[string]verifiedFile{}
	}
	a.verified.m[key] = verifiedFile{st.Size(), st.ModTime(), info}
	return info, nil
}

// VerifySnapshot implements agentpb.AgentServer.
func (a *Agent) VerifySnapshot(ctx context.Context, req *agentpb.VerifySnapshotRequest) (*agentpb.SnapshotInfo, error) {
	info, err := a.verify(ctx, req.GetSnapshot(), req.GetSkipHashCheck(), true)
	if err != nil {
		return nil, toStatus(err)
	}
	out := &agentpb.SnapshotInfo{Sha256: info.SHA256, Size: info.Size, Revision: info.Revision, Keys: info.LiveKeys, HashPresent: info.HashPresent, StorageVersion: info.StorageVersion}
	for _, m := range info.Members {
		out.MemberNames = append(out.MemberNames, m.Name)
	}
	return out, nil
}

// StageRestore implements agentpb.AgentServer. It touches nothing but staging.
func (a *Agent) StageRestore(ctx context.Context, req *agentpb.StageRestoreRequest) (*agentpb.StageRestoreReply, error) {
	if !fileName.MatchString(req.GetId()) {
		return nil, status.Error(codes.InvalidArgument, "a restore needs an id")
	}
	// It is there since the plan's first step, unless somebody cleared it away.
	if err := a.bring(ctx, req.GetSnapshot()); err != nil {
		return nil, err
	}
	path, err := a.locate(req.GetSnapshot())
	if err != nil {
		return nil, err
	}
	a.act.Lock()
	defer a.act.Unlock()
	c := a.Config()
	res, err := restore.Stage(ctx, restore.Params{
		Snapshot: path, DataDir: c.DataDir, StagingID: req.GetId(), Name: c.Name, PeerURL: c.PeerURL,
		ServedRevision: req.GetServedRevision(), SkipHashCheck: req.GetSkipHashCheck(), EtcdVersion: c.EtcdVersion,
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.StageRestoreReply{
		ClusterId: node.FormatID(res.ClusterID), MemberId: node.FormatID(res.MemberID),
		SnapshotRevision: res.SnapshotRevision, Revision: res.Revision, Keys: res.Keys,
	}, nil
}

// ActivateRestore implements agentpb.AgentServer: one rename, under a hold.
func (a *Agent) ActivateRestore(ctx context.Context, req *agentpb.ActivateRestoreRequest) (*agentpb.ActivateRestoreReply, error) {
	if !fileName.MatchString(req.GetId()) {
		return nil, status.Error(codes.InvalidArgument, "a restore needs an id")
	}
	a.act.Lock()
	defer a.act.Unlock()
	if err := a.needHeld(ctx); err != nil {
		return nil, err
	}
	dir := a.Config().DataDir
	st, err := datadir.ReadStaged(dir, req.GetId())
	if err != nil {
		return nil, toStatus(err)
	}
	if got := node.FormatID(st.ClusterID); got != req.GetGeneration().GetClusterId() {
		return nil, status.Errorf(codes.FailedPrecondition, "staged is cluster %s, and the journal says %s", got, req.GetGeneration().GetClusterId())
	}
	if err := datadir.Activate(dir, req.GetId()); err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.ActivateRestoreReply{ClusterId: node.FormatID(st.ClusterID)}, nil
}

// sourceOf describes a snapshot for a plan; one that is not good says why.
func (a *Agent) sourceOf(ctx context.Context, ref, label string, skipHash bool) recovery.Source {
	if strings.HasPrefix(ref, backupPrefix) {
		return a.namedBackup(ctx, ref)
	}
	s := recovery.Source{Label: label, Ref: ref}
	info, err := a.verify(ctx, ref, skipHash, false)
	if err != nil {
		s.Problem = client.Reason(err)
		if errors.Is(err, snapshot.ErrNoHash) {
			s.NeedsFlag = snapshot.SkipHashFlag
		}
		return s
	}
	s.SHA256, s.Size, s.Revision, s.Keys = info.SHA256, info.Size, info.Revision, info.LiveKeys
	s.HashMissing, s.StorageVersion = !info.HashPresent, info.StorageVersion
	for _, m := range info.Members {
		s.MemberNames = append(s.MemberNames, m.Name)
	}
	return s
}

// localSources are the snapshots in the backup folder. Only files that look
// like one by their name are read: a folder may hold other things too (P19).
func (a *Agent) localSources(ctx context.Context, skipHash bool) ([]recovery.Source, error) {
	es, err := os.ReadDir(a.paths.Backups())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for snapshots: %w", err)
	}
	var out []recovery.Source
	for _, e := range es {
		if e.Type().IsRegular() && filepath.Ext(e.Name()) == ".db" && fileName.MatchString(e.Name()) {
			out = append(out, a.sourceOf(ctx, e.Name(), filepath.Join(a.paths.Backups(), e.Name()), skipHash))
		}
	}
	return out, nil
}
