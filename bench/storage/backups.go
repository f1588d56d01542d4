package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"clusteretcd.io/ceo/bench/storage/measure"
)

const (
	saving = "backup of a running etcd"

	byEtcdctl = "etcdctl snapshot save"
	byBackup  = "ceo backup, stored, read back and verified"
)

// backups measures how a running etcd is saved.
func (b *bench) backups(ctx context.Context, g *generated, db *Database) error {
	return b.serving(ctx, g, func(e *etcd) error {
		p, err := b.folderPlace(b.path("store"))
		if err != nil {
			return err
		}
		return b.eachRound(ctx, []way{{byEtcdctl, func(ctx context.Context) error {
			s, _, err := measure.Run(ctx, measure.Command{
				Path: b.tools.etcdctl, Args: []string{"--endpoints", e.url, "snapshot", "save", b.path("snapshot.db")},
			})
			if err == nil {
				b.took(db, saving, byEtcdctl, s)
			}
			return err
		}}, {byBackup, func(ctx context.Context) error {
			m, err := b.backUp(ctx, p, e)
			if err != nil {
				return err
			}
			if m.manifest.Database.Revision != g.Revision || m.manifest.Database.TotalKeys != g.Entries {
				return fmt.Errorf("a backup that is fast and wrong: %+v", m.manifest.Database)
			}
			db.Stored = m.manifest.Database.StoredSize
			b.took(db, saving, byBackup, m.Sample)
			return nil
		}}})
	})
}

// serving runs an etcd on a copy of the database while it is saved.
func (b *bench) serving(ctx context.Context, g *generated, during func(*etcd) error) (err error) {
	served := filepath.Join(b.scratch, "served")
	defer func() { err = errors.Join(err, os.RemoveAll(served)) }()
	if err := copyTree(ctx, g.base, served); err != nil {
		return err
	}
	e, err := b.startEtcd(ctx, served)
	if err != nil {
		return err
	}
	defer e.kill()
	if err := e.check(ctx, g.Revision, g.Keys); err != nil {
		return err
	}
	return during(e)
}
