package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newRestoreCommand() *cobra.Command {
	var o cli.RestoreOptions
	var output string
	var bump uint64
	var mark bool
	c := &cobra.Command{
		Use:   "restore SOURCE",
		Short: "Make a data dir of a snapshot or a backup, offline: no agent, no cluster",
		Long: `Make a data dir of a snapshot or a backup, offline: no agent, no cluster, and on any machine.

SOURCE is a snapshot file that any tool took of etcd 3.5 or newer; or a backup: its name in the catalogue, the beginning
of one, latest, latest-proven, or its whole URL. A file that is there is taken before a backup of the same name; with
--store, a backup is meant. A backup is streamed into place: nothing of it is stored elsewhere on the way.

The flags are those of etcdutl snapshot restore, with safer defaults: the cluster token is random, so that members of
the old cluster are strangers to the new one; the revision goes far beyond any that was served, and is marked compacted,
so that no client goes on with what it remembers. --bump-revision 0 turns both off.

It is verified while it is copied, and put in place whole, flushed, in one step. Until then etcd refuses to start on the
data dir. One that exists and is not empty is never touched. To bring the cluster of this node back, use ceo recover.`,
		Example: `  ceo restore snapshot.db --data-dir /var/lib/etcd --name cp-1 --initial-advertise-peer-urls https://10.0.0.11:2380
  ceo restore latest-proven --data-dir /srv/look
  ceo restore 20261122t1402 --data-dir /srv/look --config backup.yaml
  ceo restore 's3://dr/prod/20261122t140209z-4f1c?region=eu-central-1' --data-dir /srv/look`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(c *cobra.Command, have []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(have) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := cli.CompleteBackups(c.Context(), cli.BackupOptions{Config: o.Config, Store: o.Store, Target: cli.Target{Paths: o.Paths}})
			return names, cobra.ShellCompDirectiveDefault // and files
		},
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if o.Format, err = cli.ParseFormat(output); err != nil {
				return err
			}
			o.Source = args[0]
			if c.Flags().Changed("bump-revision") {
				o.BumpRevision = &bump
			}
			if c.Flags().Changed("mark-compacted") {
				o.MarkCompacted = &mark
			}
			return cli.Restore(c.Context(), streams(c), o)
		},
	}
	outputFlag(c, &output)
	f := c.Flags()
	f.StringVar(&o.DataDir, "data-dir", "", "the data dir to make; absent or empty (default NAME.etcd)")
	f.StringVar(&o.WALDir, "wal-dir", "", "another place for the WAL; absent or empty (default: in the data dir)")
	f.StringVar(&o.Name, "name", "default", "the member's name")
	f.StringVar(&o.InitialCluster, "initial-cluster", "", "all members of the new cluster, as name=URL,… (default: this one alone)")
	f.StringVar(&o.Token, "initial-cluster-token", "", "token of the new cluster, the same for all its members (default random, for one member)")
	f.StringSliceVar(&o.PeerURLs, "initial-advertise-peer-urls", []string{"http://localhost:2380"}, "this member's peer URLs")
	f.Uint64Var(&bump, "bump-revision", 0, "by how much to raise the revision (default 1000000000); 0 leaves it, and does not mark it compacted")
	f.BoolVar(&mark, "mark-compacted", true, "mark everything up to the new revision as compacted")
	f.BoolVar(&o.SkipHashCheck, "skip-hash-check", false, "accept a file without a hash: a database file that was copied by hand")
	f.StringVar(&o.Config, "config", "", "file that says where backups are (default /var/lib/ceo/backup.yaml)")
	f.StringVar(&o.Store, "store", "", "look for the backup in this store: file:///path, s3://bucket/prefix?region=…&endpoint=…, gs://…, azblob://…")
	f.StringSliceVar(&o.AcceptRisks, "accept-risk", nil, "name of a risk to accept: "+cli.ForeignSnapshot+" (the backup is of another cluster, and this is this node's data dir)")
	f.StringVar(&o.Paths.Root, "root", "", "prefix of the paths of this node, for tests")
	_ = f.MarkHidden("root") // fails only for a flag that does not exist
	return c
}
