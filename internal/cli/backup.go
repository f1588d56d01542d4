package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/cli/ui"
	"clusteretcd.io/ceo/internal/durable"
)

// BackupOptions of the verbs of `ceo backup`.
type BackupOptions struct {
	// Target: another node's agent is asked if it names one; else this process
	// does the work, as root on a node, and needs no agent.
	Target Target
	Format Format
	Config string
	Store  string
	// Name is a backup's name, the beginning of one, latest or latest-proven.
	Name        string
	NoResources bool
	Etcd        string
	Scratch     string
	Yes         bool
	// To is the file that fetch writes, Resources the folder.
	To        string
	Resources string
}

// catalogue is what the verbs ask: this process's own work, or an agent's.
type catalogue interface {
	Create(ctx context.Context, resources bool, p keep.Progress) (keep.Made, error)
	List(ctx context.Context) (keep.Listing, error)
	Verify(ctx context.Context, name string, p keep.Progress) (keep.Verified, error)
	Prove(ctx context.Context, name string, o keep.ProveOptions, p keep.Progress) (keep.Verified, error)
	Prune(ctx context.Context, dry bool) (keep.Pruned, error)
	Fetch(ctx context.Context, name, file, resources string, p keep.Progress) (keep.Verified, error)
}

func (o BackupOptions) keeper() keep.Keeper {
	return keep.Keeper{Paths: o.Target.Paths, Version: Version, Config: o.Config, Store: o.Store}
}

// limitMemory sets a soft limit in bytes, unless the environment has one: without, the garbage of a stream doubles what it
// takes.
func limitMemory(n int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(n)
	}
}

// catalogue and what closes it.
func (o BackupOptions) catalogue() (catalogue, func(), error) {
	if o.Target.local() {
		limitMemory(keep.Memory)
		return o.keeper(), func() {}, nil
	}
	conn, a, err := o.Target.connect()
	if err != nil {
		return nil, nil, err
	}
	return agentBackups{a, o.Target}, func() { _ = conn.Close() }, nil
}

// with runs one verb.
func (o BackupOptions) with(f func(catalogue) error) error {
	c, done, err := o.catalogue()
	if err != nil {
		return err
	}
	defer done()
	return f(c)
}

// CreateBackup makes one.
func CreateBackup(ctx context.Context, s Streams, o BackupOptions) error {
	return o.with(func(c catalogue) error {
		m, err := c.Create(ctx, !o.NoResources, s.phases())
		switch {
		case errors.Is(err, backup.ErrExposed):
			return exitf(ExitRefused, "%w; no backup was made", err)
		case err != nil:
			return fmt.Errorf("%w; no backup was made", err)
		}
		s.say("taken of %s: %s", m.From, m.Why)
		for _, f := range m.Missing {
			s.say("not in it: %s", f)
		}
		for _, id := range m.Cleared {
			s.say("cleared what a killed run left: %s", id)
		}
		if m.Warning != "" {
			s.say("warning: %s", m.Warning)
		}
		e := backup.Entry{ID: m.Manifest.ID, Manifest: m.Manifest}
		return s.show(o.Format, m, func() string {
			return ui.Backup(e, m.Store, ui.Made(m.Manifest), time.Now(), style(s.Out))
		})
	})
}

// ListBackups shows the catalogue. Without a good backup it ends as not healthy.
func ListBackups(ctx context.Context, s Streams, o BackupOptions) error {
	return o.with(func(c catalogue) error {
		l, err := c.List(ctx)
		if err != nil {
			return err
		}
		if err := s.show(o.Format, l, func() string { return ui.BackupList(l, style(s.Out)) }); err != nil {
			return err
		}
		if len(l.Good()) < len(l.Entries) || len(l.Entries) == 0 {
			return silent(ExitNotHealthy)
		}
		return nil
	})
}

// ShowBackup shows one.
func ShowBackup(ctx context.Context, s Streams, o BackupOptions) error {
	return o.with(func(c catalogue) error {
		l, err := c.List(ctx)
		if err != nil {
			return err
		}
		e, err := backup.Find(l.Entries, o.Name)
		if err != nil {
			return err
		}
		return s.show(o.Format, e, func() string { return ui.Backup(e, l.Store, "", time.Now(), style(s.Out)) })
	})
}

// VerifyBackup reads one whole.
func VerifyBackup(ctx context.Context, s Streams, o BackupOptions) error {
	return o.with(func(c catalogue) error {
		v, err := c.Verify(ctx, o.Name, s.phases())
		if err != nil {
			return err
		}
		return s.show(o.Format, v, func() string {
			return ui.Backup(v.Entry, v.Store, "read whole and verified", time.Now(), style(s.Out))
		})
	})
}

// ProveBackup restores and serves one.
func ProveBackup(ctx context.Context, s Streams, o BackupOptions) error {
	return o.with(func(c catalogue) error {
		v, err := c.Prove(ctx, o.Name, keep.ProveOptions{Etcd: o.Etcd, Scratch: o.Scratch}, s.phases())
		if err != nil {
			return err
		}
		return s.show(o.Format, v, func() string {
			return ui.Backup(v.Entry, v.Store, "restored, served and compared", time.Now(), style(s.Out))
		})
	})
}

// PruneBackups thins the catalogue out.
func PruneBackups(ctx context.Context, s Streams, o BackupOptions) error {
	return o.with(func(c catalogue) error {
		p, err := c.Prune(ctx, !o.Yes)
		if err != nil {
			return err
		}
		if err := s.show(o.Format, p, func() string { return ui.Pruned(p.Decision, p.Removed, style(s.Out)) }); err != nil {
			return err
		}
		if len(p.Decision.Remove) > 0 && !p.Removed {
			return silent(ExitNotHealthy)
		}
		return nil
	})
}

// FetchBackup writes one's snapshot to a file.
func FetchBackup(ctx context.Context, s Streams, o BackupOptions) error {
	return o.with(func(c catalogue) error {
		to := o.To
		if to == "" {
			to = o.Name + ".db"
		}
		path, err := filepath.Abs(to)
		if err != nil {
			return fmt.Errorf("--to %s: %w", to, err)
		}
		v, err := c.Fetch(ctx, o.Name, path, o.Resources, s.phases())
		if err != nil {
			return err
		}
		return s.show(o.Format, v, func() string {
			return ui.Backup(v.Entry, v.Store, "fetched to "+path+", verified", time.Now(), style(s.Out))
		})
	})
}

// MakeBackupKey makes a key pair for encrypted backups.
func MakeBackupKey(s Streams, path string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return exitf(ExitRefused, "%s is there already; it may be the only key to backups, so it is not overwritten: choose another name", path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, err)
	}
	content := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", time.Now().UTC().Format(time.RFC3339), id.Recipient(), id)
	if err := durable.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	s.say("the secret key is in %s; keep a copy of it away from these nodes: without it the backups are lost", path)
	s.say("in backup.yaml on every control-plane node:")
	s.say("  recipients: [%s]\n  identityFile: %s", id.Recipient(), path)
	_, err = fmt.Fprintln(s.Out, id.Recipient())
	return err
}

// CompleteBackups are names for the shell's completion.
func CompleteBackups(ctx context.Context, o BackupOptions) []string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	names := []string{backup.Latest, backup.LatestProven}
	_ = o.with(func(c catalogue) error {
		l, err := c.List(ctx)
		for _, e := range l.Good() {
			names = append(names, e.ID)
		}
		return err
	})
	return names
}
