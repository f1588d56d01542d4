package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup/frame"
	"clusteretcd.io/ceo/internal/snapshot"
	"clusteretcd.io/ceo/internal/store"
)

// fetchers is how many frames are on their way at once.
const fetchers = 4

// open reports whether one of the keys is one of the recipients'.
func (i Identities) open(recipients []string) bool {
	for _, k := range i.keys {
		x, ok := k.(*age.X25519Identity)
		if !ok {
			return true // of another kind: only trying tells
		}
		for _, r := range recipients {
			if x.Recipient().String() == r {
				return true
			}
		}
	}
	return false
}

func (i Identities) wrong(m Manifest, err error) error {
	where := i.from
	if where == "" {
		where = "no identityFile is configured"
	}
	return fmt.Errorf("%w: it is encrypted to %s; looked for a key in: %s (%w)", ErrWrongKey, strings.Join(m.Recipients, ", "), where, err)
}

// OpenDatabase gives the snapshot file's bytes in order, read in parallel by ranges. Frames are checked as they come;
// size and digest of the whole are the reader's to compare, as it has to hash them anyway.
func OpenDatabase(ctx context.Context, s store.Store, m Manifest, ids Identities) (io.ReadCloser, error) {
	return openObject(ctx, s, m, ids, m.Database.Object, m.Database.StoredSize)
}

func openObject(ctx context.Context, s store.Store, m Manifest, ids Identities, name string, size int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	ok := false
	defer func() {
		if !ok {
			cancel()
		}
	}()
	key := m.ID + "/" + name
	var ra io.ReaderAt = newBlocks(ctx, s, key, size)
	if len(m.Recipients) > 0 {
		plain, n, err := age.DecryptReaderAt(ra, size, ids.keys...)
		switch {
		case len(ids.keys) == 0:
			return nil, ids.wrong(m, errors.New("none"))
		case isWrongKey(err):
			return nil, ids.wrong(m, err)
		case err != nil:
			return nil, damaged(s, key, err)
		}
		ra, size = plain, n
	}
	p, err := frame.NewParallel(ctx, ra, size, fetchers)
	if err != nil {
		return nil, damaged(s, key, err)
	}
	ok = true
	return &stream{p, cancel, func(err error) error { return damaged(s, key, err) }}, nil
}

func isWrongKey(err error) bool {
	var no *age.NoIdentityMatchError
	return errors.As(err, &no)
}

// damaged gives an error of what was read this package's name; one of the store keeps its own.
func damaged(s store.Store, key string, err error) error {
	for _, own := range []error{store.ErrStalled, store.ErrDenied, store.ErrNotFound, store.ErrLength, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, own) {
			return err
		}
	}
	return fmt.Errorf("%w: %s/%s: %w", ErrDamaged, s.URL(), key, err)
}

type stream struct {
	*frame.Parallel
	cancel context.CancelFunc
	name   func(error) error
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Parallel.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.name(err)
	}
	return n, err
}

func (s *stream) Close() error {
	s.cancel()
	s.Parallel.Close()
	return nil
}

// Verify reads a backup whole from the store and checks all that can be: stored digests, frames, plain digests, and of
// the database every page, the tree and the index.
func Verify(ctx context.Context, s store.Store, m Manifest, ids Identities, progress func(Progress)) error {
	if progress == nil {
		progress = func(Progress) {}
	}
	if len(m.Recipients) > 0 && !ids.open(m.Recipients) {
		return ids.wrong(m, errors.New("none of the keys there"))
	}
	m.ReadBack = Decrypted
	return readBack(ctx, s, m, ids, progress)
}

// readBack is one pass over each object, from its first byte to its last.
func readBack(ctx context.Context, s store.Store, m Manifest, ids Identities, progress func(Progress)) error {
	decrypt := m.ReadBack == Decrypted
	d := m.Database
	c := snapshot.NewChecker(snapshot.CheckOptions{})
	defer c.Close()
	var plain io.Writer
	if decrypt {
		plain = c
	}
	if err := readObject(ctx, s, m, ids, stored{d.Object, d.StoredSize, d.StoredSHA256}, plain, "reading the database back", d.Size, progress); err != nil {
		return err
	}
	if decrypt {
		info, err := c.Finish()
		if err != nil {
			return fmt.Errorf("%w: %s/%s/%s: %w", ErrDamaged, s.URL(), m.ID, d.Object, err)
		}
		if info.SHA256 != d.SHA256 || info.Size != d.Size || info.Revision != d.Revision || info.TotalKeys != d.TotalKeys || info.LiveKeys != d.LiveKeys {
			return fmt.Errorf("%w: the database is not the one that the manifest describes (sha256 %.12s, revision %d; it says %.12s, %d)",
				ErrDamaged, info.SHA256, info.Revision, d.SHA256, d.Revision)
		}
	}
	r := m.Resources
	if r == nil {
		return nil
	}
	h := &counted{h: sha256.New()}
	plain = nil
	if decrypt {
		plain = h
	}
	if err := readObject(ctx, s, m, ids, stored{r.Object, r.StoredSize, r.StoredSHA256}, plain, "reading the files back", r.Size, progress); err != nil {
		return err
	}
	if decrypt && (hex.EncodeToString(h.h.Sum(nil)) != r.SHA256 || h.n != r.Size) {
		return fmt.Errorf("%w: the control plane's files are not those that the manifest describes", ErrDamaged)
	}
	return nil
}

type counted struct {
	h hash.Hash
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.h.Write(p)
}

// stored is what a manifest says of an object.
type stored struct {
	name string
	size int64
	sum  string
}

// readObject streams an object once: its stored bytes are hashed, and decoded into plain unless that is nil.
func readObject(ctx context.Context, s store.Store, m Manifest, ids Identities, o stored, plain io.Writer, phase string, total int64, progress func(Progress)) error {
	key := m.ID + "/" + o.name
	body, err := s.Range(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	raw := &counted{h: sha256.New()}
	tee := io.TeeReader(body, raw)
	if plain == nil {
		err = copyProgress(ctx, io.Discard, tee, phase, o.size, progress)
	} else {
		err = decode1(ctx, m, ids, tee, plain, phase, total, progress)
	}
	if err != nil {
		if isWrongKey(err) {
			return ids.wrong(m, err)
		}
		return damaged(s, key, err)
	}
	if raw.n != o.size || hex.EncodeToString(raw.h.Sum(nil)) != o.sum {
		return fmt.Errorf("%w: %s/%s has %d bytes with another digest than the %d that the manifest describes", ErrDamaged, s.URL(), key, raw.n, o.size)
	}
	return nil
}

func decode1(ctx context.Context, m Manifest, ids Identities, r io.Reader, plain io.Writer, phase string, total int64, progress func(Progress)) error {
	below := r
	if len(m.Recipients) > 0 {
		var err error
		if below, err = age.Decrypt(r, ids.keys...); err != nil {
			return err
		}
	}
	f, err := frame.NewReader(below)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := copyProgress(ctx, plain, f, phase, total, progress); err != nil {
		return err
	}
	// What follows the last frame was looked at by the reader; what follows age's last chunk is looked at here.
	_, err = io.Copy(io.Discard, r)
	return err
}
