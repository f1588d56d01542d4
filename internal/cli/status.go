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
	backups := make(chan *ui.BackupView, 1)
	go func() { backups <- lookAtBackups(ctx, o.Target) }()
	ob, down, err := look(ctx, o.Target)
	if err != nil {
		return err
	}
	v := ui.Summarize(ob, down, time.Now())
	v.Backups = <-backups
	if err := s.show(o.Format, v, func() string { return ui.Status(v, o.Verbose, style(s.Out)) }); err != nil {
		return err
	}
	if !v.Well() {
		return silent(ExitNotHealthy)
	}
	return nil
}

// backupsLimit bounds the look at the store: status must not hang on it.
const backupsLimit = 4 * time.Second

// lookAtBackups never fails: a store that cannot be read is part of the
// picture. On a node it needs no agent.
func lookAtBackups(ctx context.Context, t Target) *ui.BackupView {
	ctx, cancel := context.WithTimeout(ctx, backupsLimit)
	defer cancel()
	var v *ui.BackupView
	err := BackupOptions{Target: t}.with(func(c catalogue) error {
		l, err := c.List(ctx)
		if err == nil {
			v = ui.BackupsOf(l)
		}
		return err
	})
	if err != nil {
		return &ui.BackupView{Error: cause(err)}
	}
	return v
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
