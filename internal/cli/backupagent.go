package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/snapshot"
)

// agentBackups lets an agent do the work.
type agentBackups struct {
	a agentpb.AgentClient
	t Target
}

// follow reads the events of one piece of work until its result.
func follow[T any](b agentBackups, p keep.Progress, s grpc.ServerStreamingClient[agentpb.BackupEvent], err error) (T, error) {
	var v T
	for err == nil {
		var e *agentpb.BackupEvent
		if e, err = s.Recv(); err != nil {
			break
		}
		if len(e.GetResult()) > 0 {
			if err := json.Unmarshal(e.GetResult(), &v); err != nil {
				return v, fmt.Errorf("the answer of %s: %w", b.t.name(), err)
			}
			return v, nil
		}
		p(e.GetPhase(), e.GetDone(), e.GetTotal())
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s ended without a result", b.t.name())
	}
	return v, b.t.unanswered(err)
}

func (b agentBackups) Create(ctx context.Context, _ bool, p keep.Progress) (keep.Made, error) {
	s, err := b.a.CreateBackup(ctx, &agentpb.CreateBackupRequest{})
	return follow[keep.Made](b, p, s, err)
}

func (b agentBackups) Verify(ctx context.Context, name string, p keep.Progress) (keep.Verified, error) {
	s, err := b.a.VerifyBackup(ctx, &agentpb.BackupRequest{Name: name})
	return follow[keep.Verified](b, p, s, err)
}

func (b agentBackups) Prove(ctx context.Context, name string, _ keep.ProveOptions, p keep.Progress) (keep.Verified, error) {
	s, err := b.a.ProveBackup(ctx, &agentpb.BackupRequest{Name: name})
	return follow[keep.Verified](b, p, s, err)
}

func (b agentBackups) List(ctx context.Context) (keep.Listing, error) {
	var l keep.Listing
	r, err := b.a.ListBackups(ctx, &agentpb.ListBackupsRequest{})
	if err != nil {
		return l, b.t.unanswered(err)
	}
	return l, json.Unmarshal(r.GetListing(), &l)
}

func (b agentBackups) Prune(ctx context.Context, dry bool) (keep.Pruned, error) {
	var p keep.Pruned
	r, err := b.a.PruneBackups(ctx, &agentpb.PruneBackupsRequest{DryRun: dry})
	if err != nil {
		return p, b.t.unanswered(err)
	}
	return p, json.Unmarshal(r.GetDecision(), &p)
}

// Fetch compares what arrives with the manifest, not with what the sender says
// of it alone.
func (b agentBackups) Fetch(ctx context.Context, name, file, _ string, p keep.Progress) (_ keep.Verified, err error) {
	l, err := b.List(ctx)
	if err != nil {
		return keep.Verified{}, err
	}
	e, err := backup.Find(l.Entries, name)
	if err != nil {
		return keep.Verified{}, err
	}
	part, err := snapshot.Receive(file)
	if err != nil {
		return keep.Verified{}, err
	}
	defer func() { err = errors.Join(err, part.Abort()) }()
	s, err := b.a.FetchBackup(ctx, &agentpb.BackupRequest{Name: e.ID})
	if err != nil {
		return keep.Verified{}, b.t.unanswered(err)
	}
	d := e.Manifest.Database
	if _, err := client.ReceiveSnapshot(s, io.MultiWriter(part, meter{func() { p("fetching", part.Size(), d.Size) }})); err != nil {
		return keep.Verified{}, b.t.unanswered(err)
	}
	if err := part.Commit(d.SHA256, d.Size); err != nil {
		return keep.Verified{}, err
	}
	return keep.Verified{Entry: e, Store: l.Store}, nil
}

type meter struct{ tick func() }

func (m meter) Write(p []byte) (int, error) { m.tick(); return len(p), nil }
