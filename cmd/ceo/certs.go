package main

import (
	"time"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newCertsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "certs",
		Short: "Show the certificates of every node, and change etcd's CA",
		Example: `  ceo certs status
  ceo certs rotate-ca --reason "yearly, 2026"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCertsStatusCommand(), newRotateCACommand())
	return c
}

func newCertsStatusCommand() *cobra.Command {
	var o cli.CertsOptions
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show every node's certificates: when they expire, who signed them, and what is due",
		Long: `Show every node's certificates: when they expire, which CA of etcd's signed them, and what is due. The agents are asked
directly; the API server is not needed.

Ends with 0 if nothing is overdue, with 2 if something is or a node could not be looked at.`,
		Example: `  ceo certs status
  ceo certs status -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Format, err = cli.ParseFormat(output); err != nil {
				return err
			}
			return cli.CertsStatus(c.Context(), streams(c), o)
		},
	}
	targetFlags(c, &o.Target)
	outputFlag(c, &output)
	return c
}

func newRotateCACommand() *cobra.Command {
	var o cli.RotateCAOptions
	var output string
	c := &cobra.Command{
		Use:   "rotate-ca --reason TEXT",
		Short: "Have etcd's CA changed by the operator: bundle first, certificates after, one restart at a time",
		Long: `Have etcd's CA changed by the operator. The plan is shown first. This writes spec.tls.caRotationReason of the EtcdCluster;
any new text begins a change. Every etcd and every kube-apiserver is restarted twice, one node at a time, the leader last.
It goes on if this command ends; run again with the same reason, it follows.

Ends with 0 when it is over (with --wait=false: asked for), 2 where --dry-run has found something to do, 3 if it was not
over in time, 4 if it is refused.`,
		Example: `  ceo certs rotate-ca --reason "yearly, 2026" --dry-run
  ceo certs rotate-ca --reason "yearly, 2026"
  ceo certs rotate-ca --reason "yearly, 2026" --yes --confirm-cluster=kubernetes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Format, err = cli.ParseFormat(output); err != nil {
				return err
			}
			return cli.RotateCA(c.Context(), streams(c), o)
		},
	}
	targetFlags(c, &o.Target)
	outputFlag(c, &output)
	c.Flags().StringVar(&o.Reason, "reason", "", "why, in one line; a new text begins a new change")
	_ = c.MarkFlagRequired("reason") // fails only for a flag that does not exist
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "show the plan and change nothing")
	c.Flags().BoolVar(&o.Yes, "yes", false, "do not ask; needs --confirm-cluster")
	c.Flags().StringVar(&o.Confirm, "confirm-cluster", "", "the cluster's name, with --yes")
	c.Flags().StringVar(&o.Kubeconfig, "kubeconfig", "", "how to reach the API server (default: $KUBECONFIG, or /etc/kubernetes/admin.conf)")
	c.Flags().BoolVar(&o.Wait, "wait", true, "follow the change until it is over")
	c.Flags().DurationVar(&o.Timeout, "timeout", time.Hour, "how long --wait waits")
	return c
}
