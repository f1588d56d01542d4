package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
)

func (a *Agent) keeper() keep.Keeper {
	return keep.Keeper{Paths: a.paths, Version: a.version, Local: ownURL(localClientURL, a.own)}
}

// work raises the soft memory limit for as long as a backup is made or read: compressing on several cores takes more than
// an idle agent may, and collecting garbage against the idle limit would take most of the time.
var work struct {
	mu   sync.Mutex
	n    int
	idle int64
}

func busy() (done func()) {
	work.mu.Lock()
	defer work.mu.Unlock()
	if work.n++; work.n == 1 {
		work.idle = debug.SetMemoryLimit(-1)
		debug.SetMemoryLimit(max(work.idle, keep.Memory))
	}
	return func() {
		work.mu.Lock()
		defer work.mu.Unlock()
		if work.n--; work.n == 0 {
			debug.SetMemoryLimit(work.idle)
			// What was used goes back to the node at once.
			debug.FreeOSMemory()
		}
	}
}

// progressEvery: a stream of events is for a person's eye.
const progressEvery = 200 * time.Millisecond

type eventStream interface {
	Send(*agentpb.BackupEvent) error
}

// reporter sends progress, not more often than a person can see it. A caller that went away ends the work through the
// stream's context, not here.
func reporter(s eventStream) keep.Progress {
	var mu sync.Mutex
	var last time.Time
	var phase string
	return func(p string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if p == phase && time.Since(last) < progressEvery && done != total {
			return
		}
		phase, last = p, time.Now()
		_ = s.Send(&agentpb.BackupEvent{Phase: p, Done: done, Total: total})
	}
}

func result(s eventStream, v any, err error) error {
	if err != nil {
		return toStatus(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return toStatus(err)
	}
	return s.Send(&agentpb.BackupEvent{Result: b})
}

// CreateBackup implements agentpb.AgentServer.
func (a *Agent) CreateBackup(_ *agentpb.CreateBackupRequest, s grpc.ServerStreamingServer[agentpb.BackupEvent]) error {
	defer busy()()
	m, err := a.keeper().Create(s.Context(), true, reporter(s))
	if err == nil {
		a.log.Info("backup made", "id", m.Manifest.ID, "store", m.Store, "revision", m.Manifest.Database.Revision, "from", m.From)
	}
	return result(s, m, err)
}

// VerifyBackup implements agentpb.AgentServer.
func (a *Agent) VerifyBackup(req *agentpb.BackupRequest, s grpc.ServerStreamingServer[agentpb.BackupEvent]) error {
	defer busy()()
	v, err := a.keeper().Verify(s.Context(), req.GetName(), reporter(s))
	return result(s, v, err)
}

// ProveBackup implements agentpb.AgentServer.
func (a *Agent) ProveBackup(req *agentpb.BackupRequest, s grpc.ServerStreamingServer[agentpb.BackupEvent]) error {
	defer busy()()
	v, err := a.keeper().Prove(s.Context(), req.GetName(), keep.ProveOptions{}, reporter(s))
	if err == nil {
		a.log.Info("backup proven", "id", v.Entry.ID, "store", v.Store)
	}
	return result(s, v, err)
}

// ListBackups implements agentpb.AgentServer.
func (a *Agent) ListBackups(ctx context.Context, _ *agentpb.ListBackupsRequest) (*agentpb.ListBackupsReply, error) {
	l, err := a.keeper().List(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	if p := l.Proven(); p != nil {
		a.measures.proven.Store(p.Proof.At.Unix())
	}
	b, err := json.Marshal(l)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.ListBackupsReply{Listing: b}, nil
}

// PruneBackups implements agentpb.AgentServer.
func (a *Agent) PruneBackups(ctx context.Context, req *agentpb.PruneBackupsRequest) (*agentpb.PruneBackupsReply, error) {
	po := keep.PruneOptions{Dry: req.GetDryRun(), Store: req.GetStore()}
	if len(req.GetRetention()) > 0 {
		ps, err := backup.ParsePolicies(req.GetRetention())
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		po.Retention = ps
	}
	// What a recovery of this node may restore from stays (I18, P17).
	if r := a.recover.current(); r.GetId() != "" && !po.Dry {
		return nil, status.Errorf(codes.FailedPrecondition, "recovery %s is open here: no backup is removed until it has ended", r.GetId())
	}
	p, err := a.keeper().PruneAs(ctx, po)
	if errors.Is(err, keep.ErrElsewhere) {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.PruneBackupsReply{Decision: b}, nil
}

// FetchBackup implements agentpb.AgentServer. gRPC's flow control is the back-pressure.
func (a *Agent) FetchBackup(req *agentpb.BackupRequest, s grpc.ServerStreamingServer[agentpb.SnapshotChunk]) (err error) {
	defer busy()()
	_, r, err := a.keeper().Open(s.Context(), req.GetName())
	if err != nil {
		return toStatus(err)
	}
	defer func() { _ = r.Close() }()
	return toStatus(sendSnapshot(r, s))
}

// sendSnapshot streams what a reader gives, with its length and digest at the end.
func sendSnapshot(r io.Reader, s grpc.ServerStreamingServer[agentpb.SnapshotChunk]) error {
	h := sha256.New()
	var n int64
	buf := make([]byte, client.ChunkSize)
	for {
		m, err := io.ReadFull(r, buf)
		if m > 0 {
			_, _ = h.Write(buf[:m])
			n += int64(m)
			if err := s.Send(&agentpb.SnapshotChunk{Data: buf[:m]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return s.Send(&agentpb.SnapshotChunk{Trailer: &agentpb.SnapshotTrailer{Size: n, Sha256: hex.EncodeToString(h.Sum(nil))}})
}
