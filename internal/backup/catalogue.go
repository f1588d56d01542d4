package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/snapshot"
	"clusteretcd.io/ceo/internal/store"
)

// The names that stand for a choice.
const (
	Latest       = "latest"
	LatestProven = "latest-proven"
)

// Entry of the catalogue.
type Entry struct {
	ID string `json:"id"`
	// Problem is why it cannot be trusted; nothing else is certain then.
	Problem string `json:"problem,omitempty"`
	// Unread: the problem is one of reading it here and now (the store failed, or it is of a newer format). It says
	// nothing of the backup, which is never removed for it, nor passed over in silence.
	Unread   bool     `json:"unread,omitempty"`
	Manifest Manifest `json:"manifest"`
	Proof    *Proof   `json:"proof,omitempty"`
	// At is when it was begun, by its name where the manifest cannot be read.
	At   time.Time `json:"at"`
	Size int64     `json:"size"` // of all that lies in its folder, bytes
}

// Good reports whether it may be restored from.
func (e Entry) Good() bool { return e.Problem == "" }

// Unfinished is a folder without a manifest.
type Unfinished struct {
	ID   string    `json:"id"`
	At   time.Time `json:"at"` // of the last write into it
	Size int64     `json:"size"`
}

// Catalogue is what lies in a store.
type Catalogue struct {
	Entries    []Entry // newest first
	Unfinished []Unfinished
}

// List reads the catalogue. A backup that is not in order is listed with its problem, and hides no other; what else lies
// in the store is not looked at (P19).
func List(ctx context.Context, s store.Store) (Catalogue, error) {
	folders, err := listFolders(ctx, s, "")
	if err != nil {
		return Catalogue{}, fmt.Errorf("list the backups: %w", err)
	}
	var c Catalogue
	for id, objects := range folders {
		if u, ok := objects.unfinished(id); ok {
			c.Unfinished = append(c.Unfinished, u)
			continue
		}
		e := Entry{ID: id, Size: objects.size()}
		e.At, _ = time.Parse("20060102t150405z", id[:16])
		if err := e.read(ctx, s, objects); err != nil {
			if ctx.Err() != nil {
				return Catalogue{}, fmt.Errorf("list the backups: %w", context.Cause(ctx))
			}
			known := errors.Is(err, ErrManifest) || errors.Is(err, ErrDamaged)
			e = Entry{ID: id, At: e.At, Size: e.Size, Problem: err.Error(), Unread: !known}
		}
		c.Entries = append(c.Entries, e)
	}
	slices.SortFunc(c.Entries, func(a, b Entry) int { return strings.Compare(b.ID, a.ID) })
	slices.SortFunc(c.Unfinished, func(a, b Unfinished) int { return cmp.Compare(b.ID, a.ID) })
	return c, nil
}

// read fills an entry from its folder: the manifest whole, the objects by name and length.
func (e *Entry) read(ctx context.Context, s store.Store, objects folder) error {
	b, err := getSmall(ctx, s, e.ID+"/"+manifestName)
	if err != nil {
		return err
	}
	m, err := DecodeManifest(b)
	if err != nil {
		return err
	}
	if m.ID != e.ID {
		return fmt.Errorf("%w: it is that of %s", ErrManifest, m.ID)
	}
	want := []stored{{m.Database.Object, m.Database.StoredSize, ""}}
	if m.Resources != nil {
		want = append(want, stored{m.Resources.Object, m.Resources.StoredSize, ""})
	}
	for _, w := range want {
		o, ok := objects[w.name]
		switch {
		case !ok:
			return fmt.Errorf("%w: %s is missing", ErrDamaged, w.name)
		case o.Size != w.size:
			return fmt.Errorf("%w: %s has %d bytes, %d were written", ErrDamaged, w.name, o.Size, w.size)
		}
	}
	e.Manifest, e.At = m, m.StartedAt
	if _, ok := objects[proofName]; ok {
		b, err := getSmall(ctx, s, e.ID+"/"+proofName)
		if err != nil {
			return err
		}
		// A proof that does not count takes nothing from the backup.
		if p, err := DecodeProof(b, m); err == nil {
			e.Proof = &p
		}
	}
	return nil
}

// Find picks the entry that a name stands for: latest, latest-proven, an id, or its beginning. One with a problem is
// never picked by a choice, and named it is an error that says the problem.
func Find(es []Entry, name string) (Entry, error) {
	if name == Latest || name == LatestProven {
		var unread []Entry // newer ones
		for _, e := range es {
			switch {
			case e.Unread:
				unread = append(unread, e)
			case e.Good() && (name == Latest || e.Proof != nil):
				if len(unread) > 0 {
					return Entry{}, fmt.Errorf("%s could not be read (%s), and may be what %s means; try again, or take the older %s by its name", unread[0].ID, unread[0].Problem, name, e.ID)
				}
				return e, nil
			}
		}
		if len(unread) > 0 {
			return Entry{}, fmt.Errorf("%w that can be read: %s: %s", ErrNoBackup, unread[0].ID, unread[0].Problem)
		}
		if name == LatestProven && slices.ContainsFunc(es, Entry.Good) {
			return Entry{}, fmt.Errorf("%w: none is proven yet; prove one with `ceo backup prove latest`, or take latest", ErrNoBackup)
		}
		return Entry{}, fmt.Errorf("%w: there is no good one; make one with `ceo backup create`", ErrNoBackup)
	}
	var found []Entry
	for _, e := range es {
		if e.ID == name {
			found = []Entry{e}
			break
		}
		if name != "" && strings.HasPrefix(e.ID, name) {
			found = append(found, e)
		}
	}
	switch {
	case len(found) == 0:
		return Entry{}, fmt.Errorf("%w as %q: `ceo backup list` shows what there is", ErrNoBackup, name)
	case len(found) > 1:
		return Entry{}, fmt.Errorf("%q is the beginning of %d backups: name one whole, as %s", name, len(found), found[0].ID)
	case found[0].Unread:
		return Entry{}, fmt.Errorf("backup %s could not be read: %s", found[0].ID, found[0].Problem)
	case !found[0].Good():
		return Entry{}, fmt.Errorf("backup %s: %s", found[0].ID, found[0].Problem)
	}
	return found[0], nil
}

// Fetch writes a backup's snapshot file, and below resources (unless empty) its static files; both are compared with
// the manifest before they get their names.
func Fetch(ctx context.Context, s store.Store, m Manifest, ids Identities, path, resources string, progress func(Progress)) (err error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	if resources != "" {
		if m.Resources == nil {
			return fmt.Errorf("backup %s has no static files", m.ID)
		}
		var b bytes.Buffer
		r := m.Resources
		if r.Size > maxSet+(1<<20) {
			return fmt.Errorf("%w: %d bytes of static files are more than a backup has", ErrManifest, r.Size)
		}
		if err := readObject(ctx, s, withDecryption(m), ids, stored{r.Object, r.StoredSize, r.StoredSHA256}, &limited{&b, r.Size}, "fetching the files", r.Size, progress); err != nil {
			return err
		}
		if err := unpack(b.Bytes(), resources); err != nil {
			return fmt.Errorf("unpack into %s: %w", resources, err)
		}
	}
	part, err := snapshot.Receive(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, part.Abort()) }()
	r, err := OpenDatabase(ctx, s, m, ids)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if err := copyProgress(ctx, part, r, "fetching the snapshot", m.Database.Size, progress); err != nil {
		return err
	}
	return part.Commit(m.Database.SHA256, m.Database.Size)
}

func withDecryption(m Manifest) Manifest { m.ReadBack = Decrypted; return m }

// limited refuses more than was announced.
type limited struct {
	b    *bytes.Buffer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, fmt.Errorf("%w: it holds more than its manifest says", ErrDamaged)
	}
	return l.b.Write(p)
}
