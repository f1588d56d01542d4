package main

import (
	"strings"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

func newBackupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup",
		Short: "Make backups, look at them, prove them, thin them out",
		Long: `Make backups, look at them, prove them, thin them out.

A backup is a snapshot of etcd together with the control plane's static files: manifests, PKI, encryption configuration.
It counts only once it was read back from the store and verified. Where backups go, with what credentials and to whom
they are encrypted is said in /var/lib/ceo/backup.yaml, which is root's alone and lies on every control-plane node;
without it they go to /var/lib/etcd-backup.

On a control-plane node these verbs need neither the agent nor the API server; with --agent they ask one.`,
	}
	c.AddCommand(
		newBackupCreateCommand(), newBackupListCommand(), newBackupShowCommand(), newBackupVerifyCommand(),
		newBackupProveCommand(), newBackupPruneCommand(), newBackupFetchCommand(), newBackupKeyCommand(),
	)
	return c
}

// backupFlags are those that say which catalogue is meant.
func backupFlags(c *cobra.Command, o *cli.BackupOptions, output *string) {
	targetFlags(c, &o.Target)
	outputFlag(c, output)
	c.Flags().StringVar(&o.Config, "config", "", "file that says where backups are (default /var/lib/ceo/backup.yaml)")
	c.Flags().StringVar(&o.Store, "store", "", "another place than the configured one: file:///path, s3://bucket/prefix?region=…&endpoint=…, gs://…, azblob://…")
	c.MarkFlagsMutuallyExclusive("agent", "config")
	c.MarkFlagsMutuallyExclusive("agent", "store")
}

// backupVerb is what the verbs have in common: run gets the options with the name, if there is one.
func backupVerb(use, short, long, example string, args cobra.PositionalArgs, run func(*cobra.Command, cli.BackupOptions) error) (*cobra.Command, *cli.BackupOptions) {
	o := &cli.BackupOptions{}
	var output string
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := cli.ParseFormat(output)
			if err != nil {
				return err
			}
			o.Format = f
			if len(args) > 0 {
				o.Name = args[0]
			}
			return run(c, *o)
		},
	}
	backupFlags(c, o, &output)
	if strings.HasSuffix(use, " NAME") {
		c.ValidArgsFunction = func(c *cobra.Command, have []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(have) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return cli.CompleteBackups(c.Context(), *o), cobra.ShellCompDirectiveNoFileComp
		}
	}
	return c, o
}

func newBackupCreateCommand() *cobra.Command {
	c, o := backupVerb("create", "Make a backup, read it back, and only then count it",
		`Make a backup, read it back, and only then count it.

The snapshot is streamed from a healthy follower (from the leader only if there is no other) through verification,
compression and encryption into the store, in one pass and without a temporary copy. What is in the store is then read
back and verified whole; the manifest, without which it is no backup, is written last.`,
		`  ceo backup create
  ceo backup create --agent 10.0.0.11 --cert backup.crt --key backup.key --cacert etcd-ca.crt`,
		cobra.NoArgs, func(c *cobra.Command, o cli.BackupOptions) error { return cli.CreateBackup(c.Context(), streams(c), o) })
	c.Flags().BoolVar(&o.NoResources, "no-resources", false, "the database alone, without the control plane's static files")
	c.MarkFlagsMutuallyExclusive("agent", "no-resources")
	return c
}

func newBackupListCommand() *cobra.Command {
	c, _ := backupVerb("list", "List the backups in the store, newest first", "", "  ceo backup list -o json",
		cobra.NoArgs, func(c *cobra.Command, o cli.BackupOptions) error { return cli.ListBackups(c.Context(), streams(c), o) })
	return c
}

func newBackupShowCommand() *cobra.Command {
	c, _ := backupVerb("show NAME", "Show what a backup holds, and what proved it",
		"NAME is a backup's name, the beginning of one, latest or latest-proven.", "  ceo backup show latest-proven",
		cobra.ExactArgs(1), func(c *cobra.Command, o cli.BackupOptions) error { return cli.ShowBackup(c.Context(), streams(c), o) })
	return c
}

func newBackupVerifyCommand() *cobra.Command {
	c, _ := backupVerb("verify NAME", "Read a backup whole and say whether it is good", "", "  ceo backup verify latest",
		cobra.ExactArgs(1), func(c *cobra.Command, o cli.BackupOptions) error { return cli.VerifyBackup(c.Context(), streams(c), o) })
	return c
}

func newBackupProveCommand() *cobra.Command {
	c, o := backupVerb("prove NAME", "Restore a backup into scratch space, serve it with a real etcd, and record that",
		`Restore a backup into scratch space and start a real etcd on it, on sockets that only root can reach. It is proven when
that etcd serves reads and writes, and its revision, number of keys and hash are the backup's. The proof is recorded
beside the backup, with the time that the restore took.`,
		`  ceo backup prove latest
  ceo backup prove latest --etcd /usr/local/bin/etcd`,
		cobra.ExactArgs(1), func(c *cobra.Command, o cli.BackupOptions) error { return cli.ProveBackup(c.Context(), streams(c), o) })
	c.Flags().StringVar(&o.Etcd, "etcd", "", "etcd to serve it with (default: the copy of this node's own that the guard keeps)")
	c.Flags().StringVar(&o.Scratch, "scratch", "", "folder for the restored copy (default: in /var/lib/etcd-backup)")
	c.MarkFlagsMutuallyExclusive("agent", "etcd")
	c.MarkFlagsMutuallyExclusive("agent", "scratch")
	return c
}

func newBackupPruneCommand() *cobra.Command {
	c, o := backupVerb("prune", "Remove the backups that the configured retention does not keep",
		`Remove the backups that the configured retention does not keep. The newest good one and the newest proven one always
stay. Without --yes it says what it would remove and why, and ends with exit code 2.`,
		`  ceo backup prune
  ceo backup prune --yes`,
		cobra.NoArgs, func(c *cobra.Command, o cli.BackupOptions) error { return cli.PruneBackups(c.Context(), streams(c), o) })
	c.Flags().BoolVar(&o.Yes, "yes", false, "remove them")
	return c
}

func newBackupFetchCommand() *cobra.Command {
	c, o := backupVerb("fetch NAME", "Write a backup's snapshot, decrypted and verified, to this machine",
		`Write a backup's snapshot to a file that etcdutl and ceo restore take. It is decrypted, and holds every Secret of the
cluster. With --resources the control plane's static files are unpacked too, below a folder, never over the node's own.`,
		`  ceo backup fetch latest --to /root/snapshot.db
  ceo backup fetch latest --to /root/snapshot.db --resources /root/control-plane`,
		cobra.ExactArgs(1), func(c *cobra.Command, o cli.BackupOptions) error { return cli.FetchBackup(c.Context(), streams(c), o) })
	c.Flags().StringVar(&o.To, "to", "", "file to write; nothing is overwritten (default NAME.db)")
	c.Flags().StringVar(&o.Resources, "resources", "", "folder, new or empty, for the static files")
	c.MarkFlagsMutuallyExclusive("agent", "resources")
	return c
}

func newBackupKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Make a key pair for encrypted backups: the secret half goes to FILE, the public one is shown",
		Long: `Make a key pair for encrypted backups (age, X25519). The secret half goes to FILE, readable by root alone; put a copy
where it survives the loss of all nodes, since without it the backups are lost. The public half goes into backup.yaml,
under recipients.`,
		Example: "  ceo backup key /var/lib/ceo/backup.key",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return cli.MakeBackupKey(streams(c), args[0]) },
	}
}
