// Command ceo runs, watches and brings back etcd on the control-plane nodes of
// a self-managed Kubernetes cluster. This folder is wiring of flags, one file a
// verb; what the verbs do is in internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

// version is set by the linker, in internal/cli.
var version = cli.Version

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	name := displayName(os.Args[0])
	err := newRootCommand(name).ExecuteContext(ctx)
	if err == nil {
		return cli.ExitOK
	}
	return cli.Report(os.Stderr, name, err, ctx.Err() != nil)
}

// displayName is how a person called it: kubectl finds plugins by the name of
// their file, and shows them as its own words.
func displayName(argv0 string) string {
	base := strings.TrimSuffix(filepath.Base(argv0), ".exe")
	if plugin, ok := strings.CutPrefix(base, "kubectl-"); ok {
		return "kubectl " + strings.ReplaceAll(plugin, "_", "-")
	}
	return "ceo"
}

func newRootCommand(name string) *cobra.Command {
	root := &cobra.Command{
		Use:   strings.ReplaceAll(name, " ", "-"),
		Short: "Run, watch and bring back etcd on the control-plane nodes of a Kubernetes cluster",
		Long: `ceo runs etcd on the control-plane nodes of a self-managed Kubernetes cluster, and brings it back from whatever has
happened to it. It asks the agents on the nodes directly: nothing here needs a working API server.

In an outage, as root on a control-plane node:
  ceo status            what is broken, on one screen, and what to type next
  ceo recover --plan    how it would be brought back; changes nothing
  ceo recover           bring it back

Exit codes: 0 well, 1 error, 2 not healthy or changes pending, 3 partial (nodes are still waited for),
4 refused as unsafe, 5 locked by another run, 130 interrupted.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.AddCommand(
		newStatusCommand(), newRecoverCommand(), newRestoreCommand(), newBackupCommand(), newSnapshotCommand(), newVersionCommand(),
		newRedeployCommand(), newCertsCommand(), newNodeCommand(), newInstallCommand(), newRenderCommand(), newAdoptCommand(), newAgentCommand(), newGuardCommand(), newInstallBinaryCommand(),
	)
	return root
}

// streams are the process's own.
func streams(c *cobra.Command) cli.Streams {
	return cli.Streams{In: c.InOrStdin(), Out: c.OutOrStdout(), Err: c.ErrOrStderr(), Name: c.Root().CommandPath()}
}
