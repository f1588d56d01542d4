package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newStatusCommand() *cobra.Command {
	var o cli.StatusOptions
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show on one screen how the cluster is, and what to type next",
		Long: `Show on one screen how the cluster is, what is broken and what to type next. The agents are asked directly; the API
server is not needed. Where this node's own agent is dead, its files are read and its peers are asked.

Ends with 0 if all is well and with 2 if not.`,
		Example: `  ceo status
  ceo status -o json
  ceo status --agent 10.0.0.11 --cert admin.crt --key admin.key --cacert etcd-ca.crt`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Format, err = cli.ParseFormat(output); err != nil {
				return err
			}
			return cli.Status(c.Context(), streams(c), o)
		},
	}
	targetFlags(c, &o.Target)
	outputFlag(c, &output)
	c.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "show the guard's last decision of every node")
	return c
}
