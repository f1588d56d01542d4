package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func outputFlag(c *cobra.Command, output *string) {
	c.Flags().StringVarP(output, "output", "o", string(cli.Text), "text or json")
	// It fails only for a flag that does not exist.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(cli.Text), string(cli.JSON)}, cobra.ShellCompDirectiveNoFileComp))
}

// targetFlags name the agent that is asked.
func targetFlags(c *cobra.Command, t *cli.Target) {
	c.Flags().StringVar(&t.Paths.Root, "root", "", "prefix of all paths, for tests")
	_ = c.Flags().MarkHidden("root") // fails only for a flag that does not exist
	c.Flags().StringVar(&t.Agent, "agent", "", "ask the agent at HOST[:PORT] with a certificate, instead of this node's own")
	c.Flags().StringVar(&t.Files.Cert, "cert", "", "certificate for --agent (default: the admin's on a control-plane node)")
	c.Flags().StringVar(&t.Files.Key, "key", "", "key for --agent")
	c.Flags().StringVar(&t.Files.CA, "cacert", "", "CA of the agents (etcd's) for --agent")
}
