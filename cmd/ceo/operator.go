package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/operator"
)

// newOperatorCommand is the operator's Deployment.
func newOperatorCommand() *cobra.Command {
	var o operator.Options
	c := &cobra.Command{
		Use:   "operator",
		Short: "Report on etcd, publish its endpoints, make the backups that are asked for (the operator's Deployment)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
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
