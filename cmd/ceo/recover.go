package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

type recoverFlags struct {
	o             cli.RecoverOptions
	resume, abort bool
	letGo         string
	output        string
	follow        string
}

func newRecoverCommand() *cobra.Command {
	var f recoverFlags
	c := &cobra.Command{
		Use:   "recover",
		Short: "Bring the control plane back from a snapshot or a backup; --plan shows how and changes nothing",
		Long: `Bring the control plane back from a snapshot or a backup: every node that answers is stopped, the data is set aside
(never deleted), the snapshot is restored on this node, the control plane comes up on it, and the other nodes join. The
agent of this node does it and goes on by itself, whatever happens to this command; nodes that are off join by
themselves when they come back.

Backups are found through /var/lib/ceo/backup.yaml on this node, with the API server down.

It shows its plan and asks for the cluster's name. In a script: --yes --confirm-cluster=NAME, and --accept-risk=RISK
for each risk that the plan names.

Ends with 0 when all voters are back, 3 while only nodes that are off are waited for, 1 if it stopped on an error,
4 if it was refused as unsafe, 5 if another recovery is open; --plan ends with 2.`,
		Example: `  ceo recover --plan
  ceo recover --from /var/lib/etcd-backup/snapshot.db
  ceo recover --from latest-proven
  ceo recover --from snapshot.db --yes --confirm-cluster=prod --accept-risk=unreachable-quorum
  ceo recover --resume
  ceo recover --let-go cp-2`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), streams(c)) },
	}
	f.register(c)
	return c
}

func (f *recoverFlags) register(c *cobra.Command) {
	o := &f.o
	fl := c.Flags()
	fl.StringVar(&o.From, "from", "", "what to restore: a snapshot file, or a backup by its name, latest or latest-proven (default: of the snapshots in /var/lib/etcd-backup and the newest backups, the one of the highest revision)")
	fl.BoolVar(&o.Plan, "plan", false, "show what would be done and change nothing")
	fl.BoolVar(&f.resume, "resume", false, "go on with a recovery that stopped, or watch the one that runs")
	fl.BoolVar(&f.abort, "abort", false, "take the open recovery back; possible up to its point of no return")
	fl.StringVar(&f.letGo, "let-go", "", "do not wait for NODE any more: it will not come back")
	fl.BoolVar(&o.SkipHashCheck, "skip-hash-check", false, "accept a snapshot without a hash: a database file that was copied by hand")
	fl.BoolVar(&o.Yes, "yes", false, "do not ask; needs --confirm-cluster and --accept-risk for each risk")
	fl.StringVar(&o.Confirm, "confirm-cluster", "", "the name of the cluster that is meant")
	fl.StringSliceVar(&o.Accept, "accept-risk", nil, "accept a risk by its name: "+strings.Join(cli.Risks(), ", "))
	fl.StringVar(&f.follow, "follow", string(cli.UntilDone), "how long to watch: until-api or until-done")
	fl.BoolVar(&o.Wait, "wait", false, "watch until the nodes that are off have joined, too")
	targetFlags(c, &o.Target)
	outputFlag(c, &f.output)
	c.MarkFlagsMutuallyExclusive("plan", "resume", "abort", "let-go")
	for _, way := range []string{"resume", "abort", "let-go"} {
		c.MarkFlagsMutuallyExclusive(way, "from")
	}
	// Registering fails only for a flag that does not exist.
	_ = c.MarkFlagFilename("from", "db")
	_ = c.RegisterFlagCompletionFunc("accept-risk", cobra.FixedCompletions(cli.Risks(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("follow", cobra.FixedCompletions([]string{string(cli.UntilAPI), string(cli.UntilDone)}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("let-go", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return cli.WaitedFor(c.Context(), o.Target), cobra.ShellCompDirectiveNoFileComp
	})
	_ = c.RegisterFlagCompletionFunc("confirm-cluster", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return cli.ClusterName(c.Context(), o.Target), cobra.ShellCompDirectiveNoFileComp
	})
}

func (f *recoverFlags) run(ctx context.Context, s cli.Streams) error {
	var err error
	if f.o.Format, err = cli.ParseFormat(f.output); err != nil {
		return err
	}
	switch f.o.Follow = cli.Follow(f.follow); f.o.Follow {
	case cli.UntilAPI, cli.UntilDone:
	default:
		return fmt.Errorf("--follow=%s: it is until-api or until-done", f.follow)
	}
	switch {
	case f.resume:
		return cli.Resume(ctx, s, f.o)
	case f.abort:
		return cli.Abort(ctx, s, f.o)
	case f.letGo != "":
		return cli.LetGo(ctx, s, f.o, f.letGo)
	}
	return cli.Recover(ctx, s, f.o)
}
