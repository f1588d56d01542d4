package main

import (
	"time"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newRedeployCommand() *cobra.Command {
	var o cli.RedeployOptions
	var output string
	c := &cobra.Command{
		Use:   "redeploy --reason TEXT",
		Short: "Have every member of etcd restarted, one at a time, by the operator",
		Long: `Have every member of etcd restarted by the operator, one at a time, the leader last and after it has handed over. This
writes spec.forceRedeploymentReason of the EtcdCluster; any new text begins a roll-out. It stops at the first member that
does not come back, which is put back to what it ran before.

Ends with 0 if it was asked for (with --wait: if it is over), 2 if it stopped or cannot begin, 3 if it was not over in
time, 4 if the API server refused it.`,
		Example: `  ceo redeploy --reason "new kernel, 2026-11-26"
  ceo redeploy --reason "new kernel, 2026-11-26" --wait
  ceo redeploy --reason again --wait -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Format, err = cli.ParseFormat(output); err != nil {
				return err
			}
			return cli.Redeploy(c.Context(), streams(c), o)
		},
	}
	outputFlag(c, &output)
	c.Flags().StringVar(&o.Reason, "reason", "", "why, in one line; a new text begins a new roll-out")
	_ = c.MarkFlagRequired("reason") // fails only for a flag that does not exist
	c.Flags().StringVar(&o.Kubeconfig, "kubeconfig", "", "how to reach the API server (default: $KUBECONFIG, or /etc/kubernetes/admin.conf)")
	c.Flags().BoolVar(&o.Wait, "wait", false, "follow the roll-out until it is over or has stopped")
	c.Flags().DurationVar(&o.Timeout, "timeout", 30*time.Minute, "how long --wait waits")
	return c
}
