package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newVersionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  ceo version -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := cli.ParseFormat(output)
			if err != nil {
				return err
			}
			return cli.ShowVersion(streams(c), f)
		},
	}
	outputFlag(c, &output)
	return c
}
