package main

import (
	"context"
	"fmt"
	"strconv"

	"clusteretcd.io/ceo/bench/storage/measure"
	"clusteretcd.io/ceo/bench/workplace"
)

// bump as etcd's documentation advises.
const bump = 1_000_000_000

// What is measured, and how; the names are those of the tables.
const (
	restoring = "restore a local file"
	starting  = "start of etcd to its first acknowledged write"

	byCopy    = "cp + fsync"
	byEtcdutl = "etcdutl snapshot restore"
	byCeo     = "ceo restore"
	asItWas   = "on a bare copy"
)

// restores measures the three ways from a snapshot file to a data dir, and the start of etcd on each.
func (b *bench) restores(ctx context.Context, g *generated, db *Database) error {
	// Into the page cache, for the first one as for the others.
	if err := b.copyFile(ctx, g.snapshot, b.path("warm"), nil); err != nil {
		return err
	}
	bumped := []string{"--bump-revision", strconv.Itoa(bump), "--mark-compacted"}
	ways := []way{{byCopy, func(ctx context.Context) error {
		err := b.copyFile(ctx, g.snapshot, b.path("db"), func(s measure.Sample) { b.took(db, restoring, byCopy, s) })
		if err != nil {
			return err
		}
		if err := b.clear(); err != nil {
			return err
		}
		if err := copyTree(ctx, g.base, b.path("data")); err != nil {
			return err
		}
		return b.start(ctx, db, asItWas, g.Revision)
	}}, {byEtcdutl, func(ctx context.Context) error {
		s, _, err := measure.Run(ctx, measure.Command{Path: b.tools.etcdutl, Args: append(restoreArgs(g.snapshot, b.path("data")), bumped...)})
		if err != nil {
			return err
		}
		b.took(db, restoring, byEtcdutl, s)
		return b.start(ctx, db, byEtcdutl, g.Revision+bump)
	}}}
	if b.tools.ceoCan(ctx, "--bump-revision", "restore") {
		ways = append(ways, way{byCeo, func(ctx context.Context) error {
			// The same flags, without the word "snapshot" before them.
			args := append(restoreArgs(g.snapshot, b.path("data"))[1:], bumped...)
			s, _, err := measure.Run(ctx, measure.Command{Path: b.tools.ceo, Args: args})
			if err != nil {
				return err
			}
			b.took(db, restoring, byCeo, s)
			return b.start(ctx, db, byCeo, g.Revision+bump)
		}})
	}
	return b.eachRound(ctx, ways)
}

// copyFile as cp does it, flushed with its folder.
func (b *bench) copyFile(ctx context.Context, from, to string, took func(measure.Sample)) error {
	s, _, err := measure.Run(ctx, measure.Command{
		Path: "/bin/sh", Args: []string{"-ec", `cp "$1" "$2"; sync "$2" "$(dirname "$2")"`, "sh", from, to},
	})
	if err == nil && took != nil {
		took(s)
	}
	return err
}

func copyTree(ctx context.Context, from, to string) error {
	_, _, err := measure.Run(ctx, measure.Command{Path: "cp", Args: []string{"-r", from, to}})
	return err
}

// start measures etcd on the data dir that a way has made.
func (b *bench) start(ctx context.Context, db *Database, how string, from int64) error {
	if err := workplace.Flush(b.scratch); err != nil {
		return err
	}
	s, err := b.firstPut(ctx, from)
	if err == nil {
		b.took(db, starting, how, s)
	}
	return err
}

// firstPut on the data dir also shows that it is what it should be: at revision from.
func (b *bench) firstPut(ctx context.Context, from int64) (measure.Sample, error) {
	e, err := b.startEtcd(ctx, b.path("data"))
	if err != nil {
		return measure.Sample{}, err
	}
	defer e.kill()
	s, rev, err := e.firstPut(ctx)
	if err == nil && rev != from+1 {
		err = fmt.Errorf("a restore that is fast and wrong: the first write got revision %d, should be %d", rev, from+1)
	}
	return s, err
}
