// Package prove restores a backup for real, into scratch space, and lets a real etcd serve it: the only way to know
// that a backup is one.
package prove

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/restore"
)

// Params of Run.
type Params struct {
	// Open gives the snapshot file, which has Size bytes and the digest SHA256.
	Open   func(context.Context) (io.ReadCloser, error)
	Size   int64
	SHA256 string
	Label  string
	// Revision and Keys are what the backup says it holds. Keys below zero were not counted.
	Revision, Keys int64
	// Scratch is a folder on a disk with room for the database; what Run makes in it is removed again.
	Scratch string
	// Sockets is a folder with a short path: a socket's is limited to 107 bytes.
	Sockets string
	// Etcd is the program that is to serve it.
	Etcd     string
	Progress func(phase string, done, total int64)
}

// Result is what was seen.
type Result struct {
	EtcdVersion string
	Revision    int64
	Keys        int64 // -1: not countable, the store has its authentication on
	Hash        uint32
	RestoreTime time.Duration // from the first byte asked for to the data dir in place
	ServeTime   time.Duration // from etcd's start to its first answer by a quorum
}

// ErrNotProven: it was restored or served, and is not what it says it is.
var ErrNotProven = errors.New("the backup is not proven")

// Run restores, serves, compares and cleans up. Its etcd listens on sockets in a folder of root's alone: on a loopback
// port anybody on the node could read every Secret for a moment.
func Run(ctx context.Context, p Params) (_ Result, err error) {
	if p.Progress == nil {
		p.Progress = func(string, int64, int64) {}
	}
	if _, err := os.Stat(p.Etcd); err != nil {
		return Result{}, fmt.Errorf("no etcd to prove it with: %w; name one with --etcd", err)
	}
	if err := durable.MkdirAll(p.Scratch, 0o700); err != nil {
		return Result{}, err
	}
	if err := sweep(p.Scratch); err != nil {
		return Result{}, err
	}
	dir, unlock, err := begin(p.Scratch)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		// The source still exists: this is a copy of a copy.
		err = errors.Join(err, os.RemoveAll(dir))
		unlock()
	}()
	began := time.Now()
	data := filepath.Join(dir, "data")
	zero := uint64(0)
	p.Progress("restoring", 0, p.Size)
	if _, err := restore.Offline(ctx, restore.OfflineParams{
		Source:  restore.Source{Open: p.Open, Size: p.Size, SHA256: p.SHA256, Label: p.Label},
		DataDir: data, Name: memberName, InitialCluster: memberName + "=" + peerURL, PeerURLs: []string{peerURL},
		// As it is: its revisions and its hash are compared.
		BumpRevision: &zero,
		Progress:     func(done, total int64) { p.Progress("restoring", done, total) },
	}); err != nil {
		return Result{}, fmt.Errorf("restore into scratch space: %w", err)
	}
	r := Result{RestoreTime: time.Since(began)}
	p.Progress("hashing", 0, 0)
	want, err := hashOf(ctx, datadir.BackendPath(data))
	if err != nil {
		return Result{}, err
	}
	if err := serve(ctx, p, data, &r, want); err != nil {
		return Result{}, err
	}
	return r, nil
}
