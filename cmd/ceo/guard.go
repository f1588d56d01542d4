package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/node"
)

// newGuardCommand is the first process of the etcd container.
func newGuardCommand() *cobra.Command {
	var root, probes string
	c := &cobra.Command{
		Use:   "guard -- etcd [etcd's flags]",
		Short: "Decide at each start of etcd what may start, and run it (the etcd container's first process)",
		Args:  cobra.MinimumNArgs(1),
		Run: func(_ *cobra.Command, args []string) {
			// The end of etcd is the end of this process, with etcd's exit code.
			os.Exit(runGuard(node.Paths{Root: root}, probes, args))
		},
	}
	c.Flags().StringVar(&probes, "probe-address", fmt.Sprintf("127.0.0.1:%d", node.GuardProbePort), "where the kubelet's probes are answered")
	c.Flags().StringVar(&root, "root", "", "prefix of all paths, for tests")
	_ = c.Flags().MarkHidden("root") // fails only for a flag that does not exist
	return c
}

func runGuard(p node.Paths, probes string, command []string) int {
	// Before anything is started: a signal that came in between would end the
	// guard by its default action.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("part", "guard")
	g := guard.New(guard.Options{Command: command, Paths: p, ProbeAddress: probes, Agents: guard.Agents{Paths: p}, Log: log})
	return g.Run(context.Background(), signals)
}
