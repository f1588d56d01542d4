package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sync/errgroup"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/bench/storage/measure"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/store"
)

// What this program does when it runs itself: each is measured as a process of its own.
const (
	childArg      = "measured-part"
	childGenerate = "generate" // SIZE SEED FILE
	childWrite    = "write"    // SIZE FILE
	childHash     = "hash"     // SIZE
	childDownload = "download" // CONFIG KEY
	childBackup   = "backup"   // CONFIG ENDPOINT
)

// child runs one part.
func (b *bench) child(ctx context.Context, args ...string) (measure.Sample, []byte, error) {
	return measure.Run(ctx, measure.Command{Path: b.tools.self, Args: append([]string{childArg}, args...)})
}

func child(what string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parts := map[string]struct {
		args int
		run  func(context.Context, []string) error
	}{
		childGenerate: {3, generateChild}, childWrite: {2, writeChild}, childHash: {1, hashChild}, childDownload: {2, downloadChild},
		childBackup: {2, backupChild},
	}
	p, ok := parts[what]
	if !ok || p.args != len(args) {
		return fmt.Errorf("no part %q with %d arguments", what, len(args))
	}
	return p.run(ctx, args)
}

func generateChild(ctx context.Context, args []string) error {
	s := dataset.Spec{Free: freePages}
	if _, err := fmt.Sscan(args[0]+" "+args[1], &s.Size, &s.Seed); err != nil {
		return err
	}
	info, err := dataset.Make(ctx, s, args[2])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(info)
}

// writeChild writes a file from memory and flushes it: what a disk takes when the bytes cost nothing.
func writeChild(_ context.Context, args []string) (err error) {
	f, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // of this program
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := repeat(f, args[0]); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(args[1]))
}

// hashChild takes a SHA-256 of bytes in memory.
func hashChild(_ context.Context, args []string) error {
	h := sha256.New()
	err := repeat(h, args[0])
	fmt.Printf("%x\n", h.Sum(nil))
	return err
}

// repeat writes size bytes that are no zeros, which a file system may treat in its own way.
func repeat(w io.Writer, size string) error {
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*31 ^ i>>8) //nolint:gosec // a pattern
	}
	for n > 0 && err == nil {
		_, err = w.Write(block[:min(n, int64(len(block)))])
		n -= int64(len(block))
	}
	return err
}

// downloadChild reads an object and throws it away, in ranges at the same time, as a restore does.
func downloadChild(ctx context.Context, args []string) (err error) {
	const part, atOnce = 8 << 20, 4
	s, err := openStore(ctx, args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	o, err := s.Stat(ctx, args[1])
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for off := int64(0); off < o.Size; off += part {
		g.Go(func() error {
			r, err := s.Range(ctx, o.Key, off, min(part, o.Size-off))
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<20))
			return err
		})
	}
	return g.Wait()
}

func openStore(ctx context.Context, config string) (store.Store, error) {
	c, err := backup.LoadConfig(config)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, store.Config{URL: c.Location, Credentials: c.Credentials})
}
