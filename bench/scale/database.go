package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/node"
)

// entries of raft's log that the database has behind it. etcd takes a learner for caught up that has 90% of the leader's
// log: of a log that has just begun, that is much to ask for, and of one that has run for months next to nothing.
const entries = 50_000

// base is the data dir that each run begins with: one member, cp-1.
type base struct {
	dataset.Info
	dir       string
	dataDir   string
	clusterID string
}

// database makes it, or takes the one that an earlier run kept.
func (b *bench) database(ctx context.Context) (_ base, err error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("db-v%d-%d-seed%d", dataset.Version, b.size, b.seed))
	d := base{dir: dir, dataDir: filepath.Join(dir, "base")}
	record := filepath.Join(dir, "info.json")
	raw, err := os.ReadFile(record) //nolint:gosec // of this program
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, &d.Info); err != nil {
			return d, err
		}
	case errors.Is(err, os.ErrNotExist):
		b.say("making a database of %d MB", b.size/1e6)
		if err := os.RemoveAll(dir); err != nil {
			return d, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return d, err
		}
		snapshot := filepath.Join(dir, "snapshot.db")
		raw, err := output(ctx, b.tools.self, childArg, childGenerate, fmt.Sprint(b.size), fmt.Sprint(b.seed), snapshot)
		if err != nil {
			return d, err
		}
		if err := json.Unmarshal(raw, &d.Info); err != nil {
			return d, err
		}
		first := b.node(1)
		if _, err := output(ctx, b.tools.etcdutl, "snapshot", "restore", snapshot, "--data-dir", d.dataDir, "--name", first.name,
			"--initial-cluster", first.name+"="+first.peerURL(), "--initial-advertise-peer-urls", first.peerURL()); err != nil {
			return d, err
		}
		if err := os.Remove(snapshot); err != nil {
			return d, err
		}
		if err := b.age(ctx, d.dataDir); err != nil {
			return d, fmt.Errorf("age the database: %w", err)
		}
		// Last: without it the folder is made anew.
		if err := os.WriteFile(record, raw, 0o600); err != nil {
			return d, err
		}
	default:
		return d, err
	}
	id, err := datadir.Inspect(ctx, d.dataDir, datadir.InspectOptions{})
	if err != nil {
		return d, err
	}
	d.clusterID = node.FormatID(id.ClusterID)
	return d, nil
}

// age writes one key again and again.
func (b *bench) age(ctx context.Context, dataDir string) (err error) {
	b.say("giving it a log of %d entries", entries)
	m := b.node(1)
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	if err := ca.kubeadm(m.paths); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(m.paths.Root)) }()
	// Nothing is flushed one by one: a crash loses only what can be made again.
	if err := m.bare("--data-dir="+dataDir, "--unsafe-no-fsync=true"); err != nil {
		return err
	}
	defer m.off()
	if err := until(ctx, "etcd to serve", stepLimit, func(ctx context.Context) error { return ready(ctx, m) }); err != nil {
		return errors.Join(err, errors.New(m.lastWords()))
	}
	c, err := dial(m.paths, m.clientURL())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	const writers = 32
	g, gctx := errgroup.WithContext(ctx)
	for range writers {
		g.Go(func() error {
			for range entries / writers {
				if _, err := c.Put(gctx, "/bench/age", ""); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return m.end(ctx)
}
