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
			continue // of a kind that no backup is made to
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
	if err := ids.check(m); err != nil {
		return nil, err
	}
	key := m.ID + "/" + name
	there, err := s.Stat(ctx, key)
	if err == nil && there.Size != size {
		return nil, otherLength(s, key, there.Size, size)
	}
	if err != nil {
		return nil, ended(ctx, unread(s, key, err))
	}
	blocks := newBlocks(ctx, s, key, size)
	named := func(err error) error {
		return ended(ctx, damaged(s, key, err, blocks.failed()))
	}
	var ra io.ReaderAt = blocks
	if len(m.Recipients) > 0 {
		plain, n, err := age.DecryptReaderAt(ra, size, ids.keys...)
		if err != nil {
			return nil, named(header(err))
		}
		ra, size = plain, n
	}
	p, err := frame.NewParallel(ctx, ra, size, fetchers)
	if err != nil {
		return nil, named(err)
	}
	ok = true
	return &stream{p, cancel, named}, nil
}

// check refuses what none of the keys can open, by the manifest alone.
func (i Identities) check(m Manifest) error {
	if len(m.Recipients) == 0 || i.open(m.Recipients) {
		return nil
	}
	if len(i.keys) == 0 {
		return i.wrong(m, errors.New("no key there"))
	}
	return i.wrong(m, errors.New("none of the keys there is a recipient's"))
}

// header says what it means that age finds no key: that a key here is one of the manifest's recipients was seen before,
// so what is stored is not what was encrypted to them.
func header(err error) error {
	var no *age.NoIdentityMatchError
	if errors.As(err, &no) {
		return errors.New("the header of its encryption is not the one that was written: a key of the manifest's recipients is here, and does not open it")
	}
	return err
}

// damaged gives an error of what was read its name. Where reading itself failed (or the work was ended) nothing is known
// of the backup, and it is not called damaged.
func damaged(s store.Store, key string, err, reading error) error {
	switch {
	case reading != nil:
		return unread(s, key, reading)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrNewer):
		return err
	case errors.Is(err, frame.ErrNewer):
		return fmt.Errorf("%w: %s: %w", ErrNewer, URL(s.URL(), key), err)
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, URL(s.URL(), key), err)
}

// ended says why the work was ended, if it was: then what failed is of no interest, and is no damage.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// unread is an error of the store; an object that is not there is a part that the backup lacks.
func unread(s store.Store, key string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %s is missing: %w", ErrDamaged, URL(s.URL(), key), err)
	}
	return fmt.Errorf("the store %s failed, which says nothing of the backup: %w", s.URL(), err)
}

func otherLength(s store.Store, key string, is, want int64) error {
	return fmt.Errorf("%w: %s has %d bytes, the manifest describes %d", ErrDamaged, URL(s.URL(), key), is, want)
}

// source remembers why reading failed: what decrypts and decodes above it may hide that.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && s.err == nil {
		s.err = err
	}
	return n, err
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
	m.ReadBack = Decrypted
	return readBack(ctx, s, m, ids, progress)
}

// readBack is one pass over each object, from its first byte to its last.
func readBack(ctx context.Context, s store.Store, m Manifest, ids Identities, progress func(Progress)) error {
	decrypt := m.ReadBack == Decrypted
	if decrypt {
		if err := ids.check(m); err != nil {
			return err
		}
	}
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
			return fmt.Errorf("%w: %s: %w", ErrDamaged, URL(s.URL(), m.ID+"/"+d.Object), err)
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
		return ended(ctx, unread(s, key, err))
	}
	defer func() { _ = body.Close() }()
	raw, src := &counted{h: sha256.New()}, &source{r: body}
	tee := io.TeeReader(src, raw)
	if plain == nil {
		err = copyProgress(ctx, io.Discard, tee, phase, o.size, progress)
	} else {
		err = decode1(ctx, m, ids, tee, plain, phase, total, progress)
	}
	if err != nil {
		return ended(ctx, damaged(s, key, header(err), src.err))
	}
	if raw.n != o.size {
		return otherLength(s, key, raw.n, o.size)
	}
	if sum := hex.EncodeToString(raw.h.Sum(nil)); sum != o.sum {
		return fmt.Errorf("%w: %s: its SHA-256 is %.12s…, the manifest describes %.12s…", ErrDamaged, URL(s.URL(), key), sum, o.sum)
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
