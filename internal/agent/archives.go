package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/node"
)

// needHeld refuses to touch a data dir under a running etcd: whoever changes
// it holds it first.
func (a *Agent) needHeld(ctx context.Context) error {
	if _, err := durable.ReadJSON[node.Hold](a.paths.Hold()); err != nil {
		return status.Error(codes.FailedPrecondition, "etcd on this node is not held: its data dir is not touched")
	}
	cs, err := a.cri.List(ctx)
	if err != nil {
		return toStatus(err)
	}
	if len(cri.RunningStatic(cs, "etcd")) == 0 {
		return nil
	}
	st, err := guard.Dial(a.paths).Status(ctx)
	if err != nil {
		return status.Errorf(codes.FailedPrecondition, "an etcd container runs and its guard does not answer, so it is not known whether etcd runs: %v", err)
	}
	if st.State != guard.Held {
		return status.Errorf(codes.FailedPrecondition, "etcd on this node is %s, not held: its data dir is not touched", st.State)
	}
	return nil
}

// ArchiveDataDir implements agentpb.AgentServer.
func (a *Agent) ArchiveDataDir(ctx context.Context, req *agentpb.ArchiveDataDirRequest) (*agentpb.ArchiveDataDirReply, error) {
	a.act.Lock()
	defer a.act.Unlock()
	if err := a.needHeld(ctx); err != nil {
		return nil, err
	}
	c := a.Config()
	id, err := datadir.Inspect(ctx, c.DataDir, datadir.InspectOptions{})
	if err != nil {
		return nil, toStatus(err)
	}
	info := datadir.ArchiveInfo{Reason: req.GetReason(), RecoveryID: req.GetKey(), Node: c.Name, At: time.Now().UTC(), Identity: id}
	if e, ok := c.Lineage.EpochOf(node.FormatID(id.ClusterID)); ok && e >= 0 {
		info.Epoch = uint64(e)
	}
	e, err := datadir.Archive(c.DataDir, info)
	if errors.Is(err, datadir.ErrNothing) {
		return &agentpb.ArchiveDataDirReply{}, nil
	}
	if err != nil {
		return nil, toStatus(err)
	}
	a.log.Info("data dir set aside", "entry", e.ID, "reason", e.Reason, "path", e.Path)
	return &agentpb.ArchiveDataDirReply{Entry: archiveToPB(e)}, nil
}

// UnarchiveDataDir implements agentpb.AgentServer.
func (a *Agent) UnarchiveDataDir(ctx context.Context, req *agentpb.UnarchiveDataDirRequest) (*agentpb.UnarchiveDataDirReply, error) {
	a.act.Lock()
	defer a.act.Unlock()
	if err := a.needHeld(ctx); err != nil {
		return nil, err
	}
	dir := a.Config().DataDir
	es, err := datadir.ListArchive(dir)
	if err != nil {
		return nil, toStatus(err)
	}
	for _, e := range es {
		if e.RecoveryID == req.GetKey() {
			if err := datadir.Unarchive(dir, e.ID); err != nil {
				return nil, toStatus(err)
			}
		}
	}
	return &agentpb.UnarchiveDataDirReply{}, nil
}

// forgetSnapshot removes the copy of a snapshot that was put on this node for a
// recovery that has ended: the file it was made from is where it was.
func (a *Agent) forgetSnapshot(ref string) {
	if !isDigest(ref) {
		return
	}
	if err := os.Remove(a.incoming(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("remove the received snapshot", "error", err)
	}
}
