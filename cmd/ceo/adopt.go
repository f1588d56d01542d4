package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newAdoptCommand() *cobra.Command {
	var o cli.AdoptOptions
	var output string
	c := &cobra.Command{
		Use:   "adopt",
		Short: "Take over the etcd that kubeadm made: node by node under the guard, then managed by the operator",
		Long: `Take over the etcd that kubeadm made. The plan is shown first. Then each control-plane node in turn gets its etcd under the
guard, which restarts it once, the leader last; and the EtcdCluster is made of what runs, so that nothing else changes.

Needs the installer of the chart on every control-plane node (ceo install --apply), an API server and this node's agent.
Run again, it goes on from where the cluster is. Ends with 2 where --dry-run has found something to do.`,
		Example: `  ceo adopt --dry-run
  ceo adopt
  ceo adopt --yes --confirm-cluster=kubernetes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Format, err = cli.ParseFormat(output); err != nil {
				return err
			}
			return cli.Adopt(c.Context(), streams(c), o)
		},
	}
	targetFlags(c, &o.Target)
	outputFlag(c, &output)
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "show the plan and change nothing")
	c.Flags().BoolVar(&o.Yes, "yes", false, "do not ask; needs --confirm-cluster")
	c.Flags().StringVar(&o.Confirm, "confirm-cluster", "", "the cluster's name, with --yes")
	c.Flags().StringSliceVar(&o.Accept, "accept-risk", nil, "consent to a named risk: downtime (with one or two members the API stops for some seconds)")
	c.Flags().StringVar(&o.Kubeconfig, "kubeconfig", "", "how to reach the API server (default: $KUBECONFIG, or /etc/kubernetes/admin.conf)")
	return c
}
