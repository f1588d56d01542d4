package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/recovery"
)

// staged is what the stage step found out and later steps need.
type staged struct {
	ClusterID        string `json:"clusterID"`
	MemberID         string `json:"memberID"`
	SnapshotRevision int64  `json:"snapshotRevision"`
	Revision         int64  `json:"revision"`
	Keys             int64  `json:"keys"`
}

func (r *Run) staged() (staged, error) {
	var s staged
	raw, ok := r.j.State().Done[recovery.StepStage]
	if !ok {
		return s, fmt.Errorf("the journal has no restored data dir")
	}
	return s, json.Unmarshal(raw, &s)
}

func (r *Run) generation() (*agentpb.Generation, error) {
	st := r.j.State()
	s, err := r.staged()
	if err != nil {
		return nil, err
	}
	return &agentpb.Generation{Epoch: st.Plan.Epoch, ClusterId: s.ClusterID, Since: timestamppb.New(st.Started), Recovery: st.ID}, nil
}

func (r *Run) do(ctx context.Context, s recovery.Step) (any, error) {
	_, a, err := r.node(s.Node)
	if err != nil {
		return nil, err
	}
	st := r.j.State()
	switch s.Name() {
	case recovery.StepVerify:
		return r.verify(ctx, a)
	case recovery.StepFence:
		return nil, r.fence(ctx, a)
	case recovery.StepStage:
		res, err := a.StageRestore(ctx, &agentpb.StageRestoreRequest{Id: st.ID, Snapshot: st.Plan.Source.Ref, ServedRevision: st.Plan.Served, SkipHashCheck: st.SkipHashCheck})
		if err != nil {
			return nil, err
		}
		if res.GetRevision() <= st.Plan.Served {
			return nil, fmt.Errorf("the restored revision %d is not beyond %d, which was served (I15)", res.GetRevision(), st.Plan.Served)
		}
		return staged{res.GetClusterId(), res.GetMemberId(), res.GetSnapshotRevision(), res.GetRevision(), res.GetKeys()}, nil
	case recovery.StepArchive:
		res, err := a.ArchiveDataDir(ctx, &agentpb.ArchiveDataDirRequest{Key: st.ID, Reason: "recovery"})
		return res.GetEntry().GetPath(), err
	case recovery.StepActivate:
		g, err := r.generation()
		if err != nil {
			return nil, err
		}
		_, err = a.ActivateRestore(ctx, &agentpb.ActivateRestoreRequest{Id: st.ID, Generation: g})
		return nil, err
	case recovery.StepStart:
		return nil, r.start(ctx, a)
	case recovery.StepLeases:
		// Whoever had the lock when the source was written has it no more, and the joins are not to wait for its lease.
		if _, err := r.d.Etcd.DeletePrefix(ctx, lock.Key); err != nil {
			return nil, err
		}
		n, err := r.d.Etcd.DeletePrefix(ctx, masterLeases)
		return n, err
	case recovery.StepControlPlane:
		if _, err := a.Kubelet(ctx, &agentpb.KubeletRequest{Action: "start"}); err != nil {
			return nil, err
		}
		_, err := a.StartComponents(ctx, &agentpb.StartComponentsRequest{Components: Components, WaitReady: true, OwnEtcdAlone: true})
		return nil, err
	case recovery.StepAnnounce:
		return nil, r.announce(ctx, s.Node, a)
	case recovery.StepDone:
		return nil, r.check(ctx)
	}
	return nil, fmt.Errorf("this version does not know step %q; resume with the version that began it", s.ID)
}

func (r *Run) verify(ctx context.Context, a agentpb.AgentClient) (any, error) {
	st := r.j.State()
	info, err := a.VerifySnapshot(ctx, &agentpb.VerifySnapshotRequest{Snapshot: st.Plan.Source.Ref, SkipHashCheck: st.SkipHashCheck})
	if err != nil {
		return nil, err
	}
	if info.GetSha256() != st.Plan.Source.SHA256 {
		return nil, fmt.Errorf("the snapshot is not the one that the plan was made of (digest %.12s, planned %.12s)", info.GetSha256(), st.Plan.Source.SHA256)
	}
	return info.GetSha256(), nil
}

// fence: kube-apiserver first. While it lives on an etcd that is gone, the
// kubelet's calls to it hang, and with them its static pods.
func (r *Run) fence(ctx context.Context, a agentpb.AgentClient) error {
	st := r.j.State()
	if _, err := a.StopComponents(ctx, &agentpb.StopComponentsRequest{Components: Components}); err != nil {
		return err
	}
	_, err := a.HoldEtcd(ctx, &agentpb.HoldEtcdRequest{Id: HoldID(st.ID), Reason: "recovery " + st.ID, Fast: true, TakesOver: st.Plan.TakesOver})
	return err
}

// start is the point of no return: the epoch is recorded before etcd is let go,
// so that no crash leaves a serving member whose epoch nobody knows.
func (r *Run) start(ctx context.Context, a agentpb.AgentClient) error {
	g, err := r.generation()
	if err != nil {
		return err
	}
	if _, err := a.NoteEpoch(ctx, &agentpb.NoteEpochRequest{Lineage: []*agentpb.Generation{g}}); err != nil {
		return err
	}
	failpoint("start.noted")
	if _, err := a.ReleaseEtcd(ctx, &agentpb.ReleaseEtcdRequest{Id: HoldID(r.j.State().ID)}); err != nil {
		return err
	}
	return r.waitServing(ctx, a, g.GetClusterId())
}

func (r *Run) waitServing(ctx context.Context, a agentpb.AgentClient, clusterID string) error {
	var last string
	for {
		got, _, err := r.d.Etcd.Members(ctx)
		switch {
		case err == nil && got == clusterID:
			return nil
		case err == nil:
			return fmt.Errorf("etcd serves cluster %s, and the restored one is %s", got, clusterID)
		default:
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			if ns, err := a.Inspect(context.WithoutCancel(ctx), &agentpb.InspectRequest{Quick: true}); err == nil {
				last += "; the guard says: " + ns.GetGuard().GetState() + ", " + ns.GetGuard().GetReason()
			}
			return fmt.Errorf("waiting for the restored etcd to serve: %s", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// announce does not fail the recovery: a node that has gone dark since is told
// when it comes back, by the join or by its own agent's look at its peers.
func (r *Run) announce(ctx context.Context, name string, a agentpb.AgentClient) error {
	if err := r.tell(ctx, a); err != nil {
		return r.note(name, "%s was not told of the new epoch: %v; it is told when it answers", name, err)
	}
	return nil
}

func (r *Run) tell(ctx context.Context, a agentpb.AgentClient) error {
	g, err := r.generation()
	if err != nil {
		return err
	}
	if _, err := a.NoteEpoch(ctx, &agentpb.NoteEpochRequest{Lineage: []*agentpb.Generation{g}}); err != nil {
		return err
	}
	_, err = a.ReleaseEtcd(ctx, &agentpb.ReleaseEtcdRequest{Id: HoldID(r.j.State().ID)})
	return err
}

// check ends a recovery: every node that was not let go has a healthy voter.
func (r *Run) check(ctx context.Context) error {
	for {
		v, states, err := r.view(ctx, nil, 0)
		if err == nil {
			id, serr := r.staged()
			if serr != nil {
				return serr
			}
			serving := 0
			for _, n := range v.Nodes {
				if served(states[n.PeerURL], id.ClusterID) {
					serving++
				}
			}
			if serving == len(v.Nodes) && len(v.Members) == len(v.Nodes) {
				return nil
			}
			err = fmt.Errorf("%d of %d voters serve, %d members are listed", serving, len(v.Nodes), len(v.Members))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for every voter to be healthy: %w", err)
		case <-time.After(joinEvery):
		}
	}
}

func (r *Run) undoStep(ctx context.Context, s recovery.Step) error {
	_, a, err := r.node(s.Node)
	if err != nil {
		return err
	}
	id := r.j.State().ID
	switch s.Name() {
	case recovery.StepVerify, recovery.StepStage:
		return nil // nothing outside staging was touched
	case recovery.StepFence:
		if _, err := a.ReleaseEtcd(ctx, &agentpb.ReleaseEtcdRequest{Id: HoldID(id)}); err != nil {
			return err
		}
		_, err := a.StartComponents(ctx, &agentpb.StartComponentsRequest{Components: Components})
		return err
	case recovery.StepArchive:
		_, err := a.UnarchiveDataDir(ctx, &agentpb.UnarchiveDataDirRequest{Key: id})
		return err
	case recovery.StepActivate:
		// Set the restored data aside as well: the archived data follows.
		_, err := a.ArchiveDataDir(ctx, &agentpb.ArchiveDataDirRequest{Key: id + "-undone", Reason: "aborted-recovery"})
		return err
	}
	return status.Errorf(codes.FailedPrecondition, "step %s cannot be undone", s.ID)
}
