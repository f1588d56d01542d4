package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newSnapshotCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Take a snapshot of etcd, or look at one",
	}
	c.AddCommand(newSnapshotSaveCommand(), newSnapshotInspectCommand(), newSnapshotVerifyCommand())
	return c
}

func newSnapshotSaveCommand() *cobra.Command {
	var o cli.SaveOptions
	var output string
	c := &cobra.Command{
		Use:   "save FILE",
		Short: "Take a snapshot of this node's etcd, read it back whole, and only then give it its name",
		Long: `Take a snapshot of etcd, read it back whole and only then give it its name. It needs no quorum and no API server.
Without flags it is taken of this node's etcd with kubeadm's health-check client certificate.

A snapshot holds every Secret of the cluster.`,
		Example: `  ceo snapshot save /var/lib/etcd-backup/snapshot.db
  ceo snapshot save prod.db --agent 10.0.0.11 --cert backup.crt --key backup.key --cacert etcd-ca.crt`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if o.Format, err = cli.ParseFormat(output); err != nil {
				return err
			}
			o.File = args[0]
			if o.Target.Agent == "" {
				o.CA, o.Cert, o.Key = o.Target.Files.CA, o.Target.Files.Cert, o.Target.Files.Key
			}
			return cli.SaveSnapshot(c.Context(), streams(c), o)
		},
	}
	targetFlags(c, &o.Target)
	outputFlag(c, &output)
	c.Flags().StringSliceVar(&o.Endpoints, "endpoint", nil, "etcd's client URL, tried in order (default https://127.0.0.1:2379)")
	c.MarkFlagsMutuallyExclusive("endpoint", "agent")
	for name, usage := range map[string]string{"cert": "client certificate", "key": "client key", "cacert": "CA"} {
		c.Flags().Lookup(name).Usage = usage + " for etcd, or for the agent with --agent"
	}
	return c
}

func newSnapshotInspectCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "inspect FILE",
		Short:   "Show what a snapshot says of itself; a few reads, which prove nothing",
		Example: "  ceo snapshot inspect /var/lib/etcd-backup/snapshot.db",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := cli.ParseFormat(output)
			if err != nil {
				return err
			}
			return cli.InspectSnapshot(streams(c), f, args[0])
		},
	}
	outputFlag(c, &output)
	return c
}

func newSnapshotVerifyCommand() *cobra.Command {
	var output string
	var skipHash bool
	c := &cobra.Command{
		Use:     "verify FILE",
		Short:   "Read a snapshot whole and say whether it is good",
		Example: "  ceo snapshot verify /var/lib/etcd-backup/snapshot.db",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := cli.ParseFormat(output)
			if err != nil {
				return err
			}
			return cli.VerifySnapshot(c.Context(), streams(c), f, args[0], skipHash)
		},
	}
	outputFlag(c, &output)
	c.Flags().BoolVar(&skipHash, "skip-hash-check", false, "accept a file without a hash: a database file that was copied by hand")
	return c
}
