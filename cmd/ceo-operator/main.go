// Command ceo-operator is the operator's Deployment. It is a program of its own so that the one that runs on the nodes
// carries no API client (docs/adr/0012-operator-program.md). This folder is wiring of flags.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/operator"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "ceo-operator: %v\n", err)
		return 1
	}
	return 0
}

// gcPercent trades a little time of a process that idles for half of its garbage. There is no soft limit beside it: what is
// kept of the Nodes of a large cluster may be more than any, and the collector would never rest then.
const gcPercent = 50

func newCommand() *cobra.Command {
	var o operator.Options
	c := &cobra.Command{
		Use:           "ceo-operator",
		Short:         "Report on etcd, publish its endpoints and make the backups that are asked for (the operator's Deployment)",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			debug.SetGCPercent(gcPercent)
			o.Log = slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("part", "operator")
			return operator.Run(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.Kubeconfig, "kubeconfig", "", "how to reach the API server (default: as a Pod does)")
	c.Flags().StringVar(&o.APIServer, "apiserver", "", "the API server of this node, e.g. https://10.0.0.11:6443, in place of a Service's IP")
	c.Flags().StringVar(&o.Certs, "certs", "/etc/ceo/operator", "folder with operator.crt, operator.key and ca.crt, to call the agents with")
	c.Flags().StringVar(&o.MetricsAddress, "metrics-address", ":2384", "where Prometheus metrics are served; 0 for nowhere")
	c.Flags().StringVar(&o.HealthAddress, "health-address", "127.0.0.1:2385", "where /healthz and /readyz are served; 0 for nowhere")
	return c
}
