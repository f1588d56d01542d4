package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup/frame"
	"clusteretcd.io/ceo/internal/snapshot"
	"clusteretcd.io/ceo/internal/store"
)

// Progress of what is done with a backup.
type Progress struct {
	Phase string // in words
	Done  int64  // bytes
	Total int64  // bytes; 0 where it is not known
}

// CreateParams of Create.
type CreateParams struct {
	Store  store.Store
	Config Config
	// Snapshot is etcd's stream, with its hash at the end; SizeHint is for the progress alone.
	Snapshot  io.Reader
	SizeHint  int64
	Cluster   Cluster
	Resources *ResourceSet // nil: none
	Now       func() time.Time
	Version   string
	Progress  func(Progress) // may be nil
}

// cleanLimit bounds the removal of what a failed backup wrote.
const cleanLimit = 20 * time.Second

// Create makes a backup. The snapshot passes once: checked, compressed, encrypted, stored. Then it is read back from the
// store and checked again, and only then the manifest is written that makes it a backup (I17, P14). After an error
// nothing of it is left, as far as the store lets itself be cleaned; without its manifest it is no backup anyway.
func Create(ctx context.Context, p CreateParams) (_ Manifest, err error) {
	if p.Progress == nil {
		p.Progress = func(Progress) {}
	}
	if err := MayStore(p.Store, p.Config, p.Resources != nil); err != nil {
		return Manifest{}, err
	}
	recipients, err := p.Config.recipients()
	if err != nil {
		return Manifest{}, err
	}
	identities, err := p.Config.Identities()
	if err != nil {
		return Manifest{}, err
	}
	began := p.Now()
	id, err := newID(began)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		FormatVersion: FormatVersion, ID: id, StartedAt: began.UTC().Round(0), CeoVersion: p.Version,
		Cluster: p.Cluster, Recipients: p.Config.Recipients,
	}
	defer func() {
		if err != nil {
			err = ended(ctx, err)
			// Before the database is there, nothing is: objects show once they are whole.
			if left := clean(ctx, p.Store, id); left != nil && m.Database.Object != "" {
				err = fmt.Errorf("%w; %w", err, left)
			}
		}
	}()
	if err := p.storeDatabase(ctx, &m, recipients); err != nil {
		return Manifest{}, err
	}
	if p.Resources != nil {
		if err := p.storeResources(ctx, &m, recipients); err != nil {
			return Manifest{}, err
		}
	}
	m.ReadBack = Decrypted
	if len(recipients) > 0 && !identities.open(m.Recipients) {
		m.ReadBack = StoredBytes
	}
	m.FinishedAt = p.Now().UTC().Round(0)
	if err := readBack(ctx, p.Store, m, identities, p.Progress); err != nil {
		return Manifest{}, fmt.Errorf("read back what was stored: %w", err)
	}
	m.FinishedAt = p.Now().UTC().Round(0)
	b, err := m.Encode()
	if err != nil {
		return Manifest{}, err
	}
	m, err = DecodeManifest(b)
	if err != nil {
		return Manifest{}, err
	}
	if err := putSmall(ctx, p.Store, id+"/"+manifestName, b); err != nil {
		return Manifest{}, err
	}
	if err := inCatalogue(ctx, p.Store, m); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// clean removes what a failed backup wrote, with its own time: the context may be what ended it.
func clean(ctx context.Context, s store.Store, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	if err := remove(ctx, s, id); err != nil {
		return fmt.Errorf("what was written of %s is left in %s; a later run clears it once it is a day old: %w", id, s.URL(), err)
	}
	return nil
}

func (p CreateParams) storeDatabase(ctx context.Context, m *Manifest, to []age.Recipient) error {
	name := "database.zst"
	if len(to) > 0 {
		name += ".age"
	}
	c := snapshot.NewChecker(snapshot.CheckOptions{})
	defer c.Close()
	o, err := putObject(ctx, p.Store, m.ID+"/"+name, to, p.Config.Compression, func(w io.Writer) error {
		return copyProgress(ctx, io.MultiWriter(c, w), p.Snapshot, "storing the snapshot", p.SizeHint, p.Progress)
	})
	if err != nil {
		return err
	}
	info, err := c.Finish()
	if err != nil {
		return fmt.Errorf("what etcd sent cannot be trusted, its own store may be damaged: %w", err)
	}
	m.Database = Database{
		Object: name, Size: info.Size, SHA256: info.SHA256, Hash: info.Hash, StoredSize: o.size, StoredSHA256: o.sum(),
		Revision: info.Revision, CompactRevision: info.CompactRevision, TotalKeys: info.TotalKeys, LiveKeys: info.LiveKeys, Leases: info.Leases,
		StorageVersion: info.StorageVersion,
	}
	return nil
}

func (p CreateParams) storeResources(ctx context.Context, m *Manifest, to []age.Recipient) error {
	name := "resources.tar.zst"
	if len(to) > 0 {
		name += ".age"
	}
	p.Progress(Progress{Phase: "storing the control plane's files"})
	var size int64
	h := sha256.New()
	o, err := putObject(ctx, p.Store, m.ID+"/"+name, to, p.Config.Compression, func(w io.Writer) error {
		var err error
		size, err = p.Resources.writeTar(io.MultiWriter(w, h), m.StartedAt)
		return err
	})
	if err != nil {
		return err
	}
	m.Resources = &Resources{
		Object: name, Size: size, SHA256: hex.EncodeToString(h.Sum(nil)), StoredSize: o.size, StoredSHA256: o.sum(), Files: p.Resources.Names(),
	}
	return nil
}

// object counts and hashes what is stored.
type object struct {
	w    io.Writer
	h    hash.Hash
	size int64
}

func (o *object) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	_, _ = o.h.Write(p[:n])
	o.size += int64(n)
	return n, err
}

func (o *object) sum() string { return hex.EncodeToString(o.h.Sum(nil)) }

// putObject stores what fill writes: in frames, encrypted if there are recipients. It is there only once all was well.
func putObject(ctx context.Context, s store.Store, key string, to []age.Recipient, l frame.Level, fill func(io.Writer) error) (_ *object, err error) {
	w, err := s.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	o := &object{w: w, h: sha256.New()}
	var below io.Writer = o
	var enc io.WriteCloser
	if len(to) > 0 {
		if enc, err = age.Encrypt(o, to...); err != nil {
			return nil, fmt.Errorf("encrypt %s: %w", key, err)
		}
		below = enc
	}
	f, err := frame.NewWriter(below, l, 0)
	if err != nil {
		return nil, err
	}
	defer f.Abort()
	if err := fill(f); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if enc != nil {
		if err := enc.Close(); err != nil {
			return nil, fmt.Errorf("encrypt %s: %w", key, err)
		}
	}
	return o, w.Commit()
}

// copyProgress copies until the end; the context is looked at between chunks.
func copyProgress(ctx context.Context, w io.Writer, r io.Reader, phase string, total int64, progress func(Progress)) error {
	buf := make([]byte, 1<<20)
	var done int64
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		done += int64(n)
		progress(Progress{Phase: phase, Done: done, Total: max(total, done)})
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}
