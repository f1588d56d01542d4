package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/bench/storage/measure"
)

// freePages is what a cluster has between two defragmentations.
const freePages = 0.1

// The member that the data dirs are made for. It is alone, so nobody ever dials its address.
const (
	memberName = "m1"
	memberURL  = "http://127.0.0.1:2380"
)

// generated is a database to measure with.
type generated struct {
	dataset.Info
	dir      string
	snapshot string // as etcd would send it
	base     string // a data dir with it as it is, without a bump
}

// generated makes the database of a size, or takes the one that an earlier run kept.
func (b *bench) generated(ctx context.Context, s size) (*generated, error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("db-v%[3]d-%[1]d-seed%[2]d", int64(s), b.seed, dataset.Version))
	g := &generated{dir: dir, snapshot: filepath.Join(dir, "snapshot.db"), base: filepath.Join(dir, "base")}
	record := filepath.Join(dir, "info.json")
	data, err := os.ReadFile(record) //nolint:gosec // of this program
	if err == nil {
		return g, json.Unmarshal(data, &g.Info)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// The database, a data dir of it, and at most two copies at a time.
	if err := requireSpace(b.dir, 5*int64(s)); err != nil {
		return nil, err
	}
	b.say("%s: making the database", s)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := b.generate(ctx, s, g); err != nil {
		return nil, errors.Join(fmt.Errorf("make the database: %w", err), os.RemoveAll(dir))
	}
	// Last: without it the folder is made anew.
	data, err = json.Marshal(g.Info)
	if err != nil {
		return nil, err
	}
	b.say("%s: %s", s, data)
	return g, os.WriteFile(record, data, 0o600)
}

// generate in a process of its own: what it leaves in memory must not be in the way of what is measured.
func (b *bench) generate(ctx context.Context, s size, g *generated) error {
	_, out, err := b.child(ctx, childGenerate, fmt.Sprint(int64(s)), fmt.Sprint(b.seed), g.snapshot)
	if err == nil {
		err = json.Unmarshal(out, &g.Info)
	}
	if err != nil {
		return err
	}
	// etcd's own words on it.
	_, out, err = measure.Run(ctx, measure.Command{Path: b.tools.etcdutl, Args: []string{"snapshot", "status", g.snapshot, "-w", "json"}})
	if err != nil {
		return err
	}
	var st struct {
		Revision int64 `json:"revision"`
		TotalKey int64 `json:"totalKey"`
	}
	if err := json.Unmarshal(out, &st); err != nil {
		return fmt.Errorf("etcdutl snapshot status: %w: %s", err, out)
	}
	if st.Revision != g.Revision || st.TotalKey != g.Keys {
		return fmt.Errorf("etcdutl finds revision %d and %d keys, made were %d and %d", st.Revision, st.TotalKey, g.Revision, g.Keys)
	}
	_, _, err = measure.Run(ctx, measure.Command{Path: b.tools.etcdutl, Args: restoreArgs(g.snapshot, g.base)})
	if err != nil {
		return err
	}
	e, err := b.startEtcd(ctx, g.base)
	if err != nil {
		return err
	}
	defer e.kill()
	return e.check(ctx, g.Revision, g.Keys)
}

// restoreArgs are the flags that etcdutl and ceo have in common.
func restoreArgs(snapshot, dataDir string) []string {
	return []string{
		"snapshot", "restore", snapshot, "--data-dir", dataDir, "--name", memberName, "--initial-cluster", memberName + "=" + memberURL,
		"--initial-advertise-peer-urls", memberURL,
	}
}

// waitFor bounds every wait for an etcd. With 4 GB on a busy machine a start takes half a minute.
const waitFor = 5 * time.Minute
