package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/cli/ui"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/restore"
)

// RestoreOptions of `ceo restore`. Empty fields stand for the defaults that restore.OfflineParams says.
type RestoreOptions struct {
	Paths  node.Paths
	Format Format
	// Source is a snapshot file, a backup's name in the catalogue, or a backup's URL.
	Source      string
	Config      string // the file that says where the catalogue is
	Store       string // another catalogue than the configured one
	AcceptRisks []string

	DataDir, WALDir             string
	Name, InitialCluster, Token string
	PeerURLs                    []string
	BumpRevision                *uint64
	MarkCompacted               *bool
	SkipHashCheck               bool
}

// restoreMemory is the soft limit of a restore, in bytes: ranges of the object that are read ahead, what is between
// decompression and the disk, and a record of each page.
const restoreMemory = 160 << 20

// Restore makes a data dir of a snapshot or a backup, with no agent and no cluster around.
func Restore(ctx context.Context, s Streams, o RestoreOptions) error {
	limitMemory(restoreMemory)
	p := restore.OfflineParams{
		Name: o.Name, InitialCluster: o.InitialCluster, Token: o.Token, PeerURLs: o.PeerURLs,
		BumpRevision: o.BumpRevision, MarkCompacted: o.MarkCompacted, SkipHashCheck: o.SkipHashCheck,
		Progress: s.progress("restoring"),
	}
	if o.DataDir == "" {
		o.DataDir = o.Name + ".etcd"
	}
	if err := absolute(&o.DataDir, &o.WALDir); err != nil {
		return err
	}
	p.DataDir, p.WALDir = o.DataDir, o.WALDir
	for _, r := range o.AcceptRisks {
		if r != ForeignSnapshot {
			return fmt.Errorf("--accept-risk=%s: the risk of this verb is %s", r, ForeignSnapshot)
		}
	}
	n, own := o.own()
	if own {
		p.EtcdVersion = n.EtcdVersion // I22
	}
	begun := time.Now()
	src, err := o.source(ctx, s, own)
	if err != nil {
		return err
	}
	defer src.close()
	for _, w := range src.warnings {
		s.say("warning: %s", w)
	}
	p.Source = src.Source
	r, err := restore.Offline(ctx, p)
	if err != nil {
		return restoreFailed(err)
	}
	v := restoredView(o, r, time.Since(begun))
	v.Warnings = src.warnings
	return s.show(o.Format, v, func() string { return v.Text(style(s.Out)) })
}

// absolute: what is printed must work in another shell.
func absolute(paths ...*string) error {
	for _, p := range paths {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("%s: %w", *p, err)
		}
		*p = abs
	}
	return nil
}

// restoreFailed gives the error its exit code: what is there already is never replaced, and data is not restored for an
// etcd that is too old for it.
func restoreFailed(err error) error {
	if errors.Is(err, datadir.ErrOccupied) || errors.Is(err, restore.ErrTooNew) {
		return &ExitError{Code: ExitRefused, Err: err}
	}
	return err
}

func restoredView(o RestoreOptions, r restore.Result, took time.Duration) ui.Restored {
	peers := o.PeerURLs
	if len(peers) == 0 {
		peers = strings.Split(r.PeerURL, ",")
	}
	v := ui.Restored{
		Source: r.Snapshot, SHA256: r.SnapshotSHA256, DataDir: o.DataDir, WALDir: o.WALDir,
		SnapshotRevision: r.SnapshotRevision, Revision: r.Revision, Keys: r.Keys, Bytes: r.Bytes,
		Name: r.Name, PeerURLs: peers, InitialCluster: o.InitialCluster, Token: r.Token,
		ClusterID: node.FormatID(r.ClusterID), MemberID: node.FormatID(r.MemberID),
		Seconds: took.Seconds(),
	}
	for _, p := range []struct {
		what string
		took time.Duration
	}{{"read, check and write", r.Elapsed.Receive}, {"rest of the check", r.Elapsed.Check}, {"edit", r.Elapsed.Edit}, {"flush", r.Elapsed.Flush}} {
		v.Parts = append(v.Parts, ui.Milestone{What: p.what, Seconds: p.took.Seconds()})
	}
	v.Compacted = v.Revision != v.SnapshotRevision
	if o.MarkCompacted != nil {
		v.Compacted = *o.MarkCompacted
	}
	if v.InitialCluster == "" {
		var members []string
		for _, u := range peers {
			members = append(members, r.Name+"="+u)
		}
		v.InitialCluster = strings.Join(members, ",")
	}
	return v.Decide()
}
