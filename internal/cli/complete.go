package cli

import (
	"context"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

// completionLimit: a shell that hangs on a tab is worse than one without names.
const completionLimit = 2 * time.Second

// ClusterName is for the shell's completion; nothing where nobody answers.
func ClusterName(ctx context.Context, t Target) []string {
	ob := completionLook(ctx, t)
	if ob.GetClusterName() == "" {
		return nil
	}
	return []string{ob.GetClusterName()}
}

// WaitedFor are the nodes that the open recovery waits for, as ClusterName.
func WaitedFor(ctx context.Context, t Target) []string {
	var out []string
	for _, n := range completionLook(ctx, t).GetNodes() {
		out = append(out, n.GetRecovery().GetWaitingFor()...)
	}
	return out
}

func completionLook(ctx context.Context, t Target) *agentpb.Observation {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	conn, a, err := t.connect()
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	ob, err := observe(ctx, a)
	if err != nil {
		return nil
	}
	return ob
}
