package agent

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcd/upgrade"
	"clusteretcd.io/ceo/internal/staticpod"
)

// series37 reads no request of 3.5's form any more.
var series37 = upgrade.Version{Major: 3, Minor: 7}

func (a *Agent) readsLog(ctx context.Context, req *agentpb.PlaceRevisionRequest) error {
	if req.GetRollBack() {
		return nil
	}
	want, err := staticpod.ParseContent(req.GetContent())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	present, err := a.shelf().Present()
	if err != nil {
		return toStatus(err)
	}
	return ReadsLog(ctx, a.Config().DataDir, present.Content, want)
}

// ReadsLog refuses a revision whose etcd could not read what this member's log holds: see datadir.LegacyEntries. It mends
// itself with the writes of the cluster, so it is asked for again with each look, and nothing is restarted meanwhile.
func ReadsLog(ctx context.Context, dataDir string, have, want staticpod.Content) error {
	from, err := upgrade.Parse(have.Version)
	if err != nil || !from.Less(series37) {
		return nil //nolint:nilerr // an image without a version says nothing: the roll-back is there for it
	}
	to, err := upgrade.Parse(want.Version)
	if err != nil || to.Less(series37) {
		return nil //nolint:nilerr // none is asked for
	}
	n, err := datadir.LegacyEntries(ctx, dataDir)
	switch {
	case err != nil:
		return status.Error(codes.FailedPrecondition, fmt.Sprintf("whether etcd %s can read this member's log is not known: %v", to, err))
	case n > 0:
		return status.Error(codes.FailedPrecondition, fmt.Sprintf("this member's log holds %d requests of etcd 3.5 after its last raft snapshot, and %s panics at them (P31): "+
			"nothing is restarted; it goes on by itself once etcd %s has written a snapshot, which it does each --snapshot-count (10000) writes", n, to, from))
	}
	return nil
}
