package cli

import (
	"context"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cli/ui"
)

// StatusOptions of the verb.
type StatusOptions struct {
	Target  Target
	Format  Format
	Verbose bool
}

// Status shows how the cluster is. It always has something to show: where this
// node's agent is dead, its files and its peers tell.
func Status(ctx context.Context, s Streams, o StatusOptions) error {
	ob, down, err := look(ctx, o.Target)
	if err != nil {
		return err
	}
	v := ui.Summarize(ob, down, time.Now())
	if err := s.show(o.Format, v, func() string { return ui.Status(v, o.Verbose, style(s.Out)) }); err != nil {
		return err
	}
	if !v.Well() {
		return silent(ExitNotHealthy)
	}
	return nil
}

// look asks the agent, and where this node's own does not answer, everybody
// else; down says why then.
func look(ctx context.Context, t Target) (ob *agentpb.Observation, down string, err error) {
	conn, a, err := t.connect()
	if err == nil {
		defer func() { _ = conn.Close() }()
		if ob, err = observe(ctx, a); err == nil {
			return ob, "", nil
		}
	}
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if !t.local() || !silentAgent(err) {
		return nil, "", t.unanswered(err)
	}
	ob, oerr := observeWithoutAgent(ctx, t.Paths)
	if oerr != nil {
		return nil, "", exitf(ExitNotHealthy, "%w; and this node's files tell nothing either: %w", t.unanswered(err), oerr)
	}
	return ob, cause(err), nil
}
