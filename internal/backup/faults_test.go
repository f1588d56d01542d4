package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/store"
	"clusteretcd.io/ceo/internal/store/storetest"
)

// A store that fails says nothing of the backup: it is not called damaged, and nothing passes for good (I17, I23).
func TestReadingFromABadStore(t *testing.T) {
	p := newPlace(t, false)
	p.create(t, database(t, 300))
	before := tree(t, p.dir)
	for _, row := range []struct {
		name  string
		fault storetest.Fault
		is    error // nil: it is good
		says  string
	}{
		{"one byte at a time", storetest.Fault{ShortReads: true}, nil, ""},
		{"it fails at the manifest", storetest.Fault{Keys: "manifest.json", FailRead: true}, nil, "injected"},
		{"it fails within the database", storetest.Fault{Keys: "database.zst", FailRead: true, FailReadAt: 1000}, storetest.ErrInjected, "says nothing of the backup"},
		{"it fails at the database's end", storetest.Fault{Keys: "database.zst", FailRead: true, FailReadAt: 3500}, storetest.ErrInjected, "says nothing of the backup"},
		{"it stops answering", storetest.Fault{Keys: "database.zst", FailRead: true, FailReadAt: 1000, Err: store.ErrStalled}, store.ErrStalled, "says nothing of the backup"},
		{"it refuses", storetest.Fault{Keys: "database.zst", FailRead: true, Err: store.ErrDenied}, store.ErrDenied, "says nothing of the backup"},
		{"it fails within the files", storetest.Fault{Keys: "resources.tar.zst", FailRead: true, FailReadAt: 500}, storetest.ErrInjected, "says nothing of the backup"},
		{"it lists more bytes than there are", storetest.Fault{Keys: "database.zst", SizeLie: 7}, nil, "were written"},
		{"it lists fewer", storetest.Fault{Keys: "database.zst", SizeLie: -7}, nil, "were written"},
		{"it delivers fewer bytes than it lists", storetest.Fault{Keys: "database.zst", Truncate: -7}, backup.ErrDamaged, "cut short"},
		{"it delivers more", storetest.Fault{Keys: "database.zst", Extra: 7}, backup.ErrDamaged, "something follows its end"},
		{"it delivers fewer of the manifest", storetest.Fault{Keys: "manifest.json", Truncate: -7}, nil, "manifest is damaged"},
		{"it delivers more of the manifest", storetest.Fault{Keys: "manifest.json", Extra: 7}, nil, "manifest is damaged"},
		{"it flips a bit on the way", storetest.Fault{Keys: "database.zst", Flip: true, FlipAt: 2000, FlipMask: 1}, backup.ErrDamaged, "database.zst"},
		{"it has lost the database", storetest.Fault{Keys: "database.zst", Missing: true}, nil, "is missing"},
		{"its listing fails", storetest.Fault{FailList: true, FailListAt: 1}, storetest.ErrInjected, "list the backups"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := p.look(t, storetest.NewFaulty(p.s, row.fault))
			switch {
			case row.says == "" && err != nil:
				t.Fatal(err)
			case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)):
				t.Fatalf("%v does not say %q", err, row.says)
			case row.is != nil && !errors.Is(err, row.is), row.is != nil && row.is != backup.ErrDamaged && errors.Is(err, backup.ErrDamaged): //nolint:errorlint // the row's own
				t.Fatalf("%v is not %v", err, row.is)
			}
			if tree(t, p.dir) != before {
				t.Fatal("reading changed what is there")
			}
		})
	}
}

// Read by ranges, as a restore does, a failing store is not called damage either.
func TestOpenFromABadStore(t *testing.T) {
	p := newPlace(t, true)
	m := p.create(t, database(t, 4800))
	for name, row := range map[string]struct {
		fault storetest.Fault
		is    error
	}{
		"it fails":           {storetest.Fault{Keys: m.Database.Object, FailRead: true, FailReadAt: 70_000}, storetest.ErrInjected},
		"it fails at once":   {storetest.Fault{Keys: m.Database.Object, FailRead: true}, storetest.ErrInjected},
		"it stops answering": {storetest.Fault{Keys: m.Database.Object, FailRead: true, Err: store.ErrStalled}, store.ErrStalled},
		"it ends too early":  {storetest.Fault{Keys: m.Database.Object, Truncate: 70_000}, store.ErrLength},
		"another length":     {storetest.Fault{Keys: m.Database.Object, SizeLie: 1}, backup.ErrDamaged},
		"a flipped bit":      {storetest.Fault{Keys: m.Database.Object, Flip: true, FlipAt: 70_000}, backup.ErrDamaged},
	} {
		path := filepath.Join(t.TempDir(), "s.db")
		err := backup.Fetch(t.Context(), storetest.NewFaulty(p.s, row.fault), m, p.keys, path, "", nil)
		if !errors.Is(err, row.is) || errors.Is(err, backup.ErrDamaged) != errors.Is(row.is, backup.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// A wait for a store that never answers ends with the context, and with its reason.
func TestCancelled(t *testing.T) {
	p := newPlace(t, true)
	m := p.create(t, database(t, 300))
	why := errors.New("somebody pressed a key")
	for _, object := range []string{m.Database.Object, m.Resources.Object} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := storetest.NewFaulty(p.s, storetest.Fault{Keys: object, StallRead: true, StallReadAt: 600})
		done := make(chan error)
		go func() { done <- backup.Verify(ctx, s, m, p.keys, nil) }()
		cancel(why)
		if err := <-done; !errors.Is(err, why) || errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", object, err)
		}
	}
	// One that is being made leaves nothing, however it ends.
	for _, object := range []string{m.Database.Object, m.Resources.Object, "manifest.json"} {
		before := tree(t, p.dir)
		ctx, cancel := context.WithCancelCause(t.Context())
		q := p.params(t, database(t, 300))
		q.Store = storetest.NewFaulty(p.s, storetest.Fault{Keys: object, StallWrite: true, StallWriteAt: 10})
		done := make(chan error)
		go func() {
			_, err := backup.Create(ctx, q)
			done <- err
		}()
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("%s: %v", object, err)
		}
		if tree(t, p.dir) != before {
			t.Errorf("%s: left %s", object, tree(t, p.dir))
		}
	}
}

// P14, I17: a backup whose making failed at any point is no backup, and does not touch those that are there.
func TestMakingOnABadStore(t *testing.T) {
	data := database(t, 300)
	p := newPlace(t, false)
	first := p.create(t, data)
	before := tree(t, p.dir)
	for _, row := range []struct {
		name  string
		fault storetest.Fault
		is    error
	}{
		{"the database's first byte", storetest.Fault{Keys: "database.zst", FailWrite: true}, storetest.ErrInjected},
		{"within the database", storetest.Fault{Keys: "database.zst", FailWrite: true, FailWriteAt: 1000}, storetest.ErrInjected},
		{"the disk is full", storetest.Fault{Keys: "database.zst", FailWrite: true, FailWriteAt: 1000, Err: store.ErrFull}, store.ErrFull},
		{"the database's commit", storetest.Fault{Keys: "database.zst", FailCommit: true}, storetest.ErrInjected},
		{"within the files", storetest.Fault{Keys: "resources.tar.zst", FailWrite: true, FailWriteAt: 100}, storetest.ErrInjected},
		{"the files' commit", storetest.Fault{Keys: "resources.tar.zst", FailCommit: true}, storetest.ErrInjected},
		{"the manifest", storetest.Fault{Keys: "manifest.json", FailWrite: true, FailWriteAt: 10}, storetest.ErrInjected},
		{"the manifest's commit", storetest.Fault{Keys: "manifest.json", FailCommit: true}, storetest.ErrInjected},
		{"reading the database back", storetest.Fault{Keys: "database.zst", FailRead: true, FailReadAt: 100}, storetest.ErrInjected},
		{"reading the files back", storetest.Fault{Keys: "resources.tar.zst", FailRead: true, FailReadAt: 100}, storetest.ErrInjected},
		{"reading the manifest back", storetest.Fault{Keys: "manifest.json", FailRead: true}, storetest.ErrInjected},
		{"less was kept than was sent", storetest.Fault{Keys: "database.zst", Truncate: -1}, backup.ErrDamaged},
		{"another byte was kept", storetest.Fault{Keys: "resources.tar.zst", Flip: true, FlipAt: 50}, backup.ErrDamaged},
		{"the database is gone meanwhile", storetest.Fault{Keys: "database.zst", SizeLie: 1}, backup.ErrDamaged},
	} {
		q := p.params(t, data)
		q.Store = storetest.NewFaulty(p.s, row.fault)
		if m, err := backup.Create(t.Context(), q); !errors.Is(err, row.is) || m.ID != "" {
			t.Errorf("%s: %q, %v", row.name, m.ID, err)
		}
		if got := tree(t, p.dir); got != before {
			t.Errorf("%s: left\n%s", row.name, got)
		}
	}
	// Where it cannot even be cleaned, what is left is no backup.
	q := p.params(t, data)
	q.Store = storetest.NewFaulty(p.s, storetest.Fault{Keys: "resources.tar.zst", FailCommit: true}, storetest.Fault{FailDelete: true})
	if _, err := backup.Create(t.Context(), q); !errors.Is(err, storetest.ErrInjected) || !strings.Contains(err.Error(), "is left in") {
		t.Error(err)
	}
	c := p.list(t)
	if len(c.Entries) != 1 || c.Entries[0].ID != first.ID || len(c.Unfinished) != 1 {
		t.Errorf("%+v", c)
	}
}

// P27: what killed runs left goes once nothing was written into it for a day, by the store's clock; a run that is going
// on is left alone, whatever this node's clock says, and so is everything else that lies there (P19).
func TestLeftovers(t *testing.T) {
	p := newPlace(t, false)
	data := database(t, 50)
	for id, age := range map[string]time.Duration{"20200101t000000z-aaaa": 25 * time.Hour, "20200102t000000z-bbbb": 23 * time.Hour, "somebody": 1000 * time.Hour} {
		w, err := p.s.Create(t.Context(), id+"/database.zst")
		if err == nil {
			_, err = w.Write([]byte("half"))
		}
		if err == nil {
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		chtimes(t, filepath.Join(p.dir, id, "database.zst"), at)
	}
	q := p.params(t, data)
	q.Now = func() time.Time { return time.Now().Add(10 * 365 * 24 * time.Hour) }
	m, err := backup.Create(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := backup.Leftovers(t.Context(), p.s, m)
	if err != nil || len(removed) != 1 || removed[0] != "20200101t000000z-aaaa" {
		t.Fatalf("%v, %v", removed, err)
	}
	c := p.list(t)
	if len(c.Entries) != 1 || !c.Entries[0].Good() || len(c.Unfinished) != 1 || c.Unfinished[0].ID != "20200102t000000z-bbbb" {
		t.Fatalf("%+v", c)
	}
	if got := tree(t, p.dir); !strings.Contains(got, "/somebody/") {
		t.Fatal(got)
	}
}

// One that was slow, and got its manifest between the decision and its carrying out, stays.
func TestPruneSparesWhatWasFinished(t *testing.T) {
	p := newPlace(t, false)
	m := p.create(t, database(t, 10))
	d := backup.Decision{Remove: []backup.Verdict{{ID: m.ID, Unfinished: true}}}
	if err := backup.Prune(t.Context(), p.s, d); err != nil || p.look(t, p.s) != nil {
		t.Fatalf("%v, %v", err, p.look(t, p.s))
	}
	d.Remove[0].ID = "../elsewhere"
	d.Remove[0].Unfinished = false
	if err := backup.Prune(t.Context(), p.s, d); err == nil {
		t.Fatal("removed what is no backup's name")
	}
}

// A source that was corrupt before its hash was made: pages, bucket structure and MVCC index are looked at (I17).
func TestCorruptUnderARightHash(t *testing.T) {
	good := database(t, 3000)
	leaf := bytes.Index(good, []byte("/registry/001500")) / 4096 * 4096
	for good[leaf+8] != 2 { // the first page of a node says what it is
		leaf -= 4096
	}
	element := leaf + 16 + 16 // the second of the page
	key := element + int(binary.LittleEndian.Uint32(good[element+4:]))
	for name, change := range map[string]func([]byte){
		"a page's id":                    func(b []byte) { b[leaf] ^= 1 },
		"a page's kind":                  func(b []byte) { b[leaf+8] = 1 },
		"a page's number of elements":    func(b []byte) { b[leaf+10]++ },
		"where a key lies":               func(b []byte) { b[element+5] ^= 0x40 },
		"how long a key is":              func(b []byte) { b[element+8]++ },
		"how long a value is":            func(b []byte) { b[element+14] ^= 1 },
		"the order of revisions":         func(b []byte) { b[key] ^= 0x40 },
		"the form of a revision":         func(b []byte) { b[key+8] = '-' },
		"the first byte of an entry":     func(b []byte) { b[key+17] ^= 0x40 },
		"both meta pages":                func(b []byte) { b[20] ^= 1; b[4096+20] ^= 1 },
		"a page of zeros":                func(b []byte) { clear(b[leaf : leaf+4096]) },
		"a page of another place":        func(b []byte) { copy(b[leaf:leaf+4096], b[leaf+4096:leaf+8192]) },
		"the file without its last page": func([]byte) {},
	} {
		b := bytes.Clone(good[:len(good)-sha256.Size])
		change(b)
		if strings.HasPrefix(name, "the file") {
			b = b[:len(b)-4096]
		}
		sum := sha256.Sum256(b)
		p := newPlace(t, false)
		_, err := backup.Create(t.Context(), p.params(t, append(b, sum[:]...)))
		if err == nil || !strings.Contains(err.Error(), "cannot be trusted") {
			t.Errorf("%s: %v", name, err)
		}
		if got := tree(t, p.dir); got != "" {
			t.Errorf("%s: left %s", name, got)
		}
	}
}
