package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/store"
	"clusteretcd.io/ceo/internal/store/storetest"
)

// look is what a person finds of the one backup there: its problem in the list, or why it does not verify, or why its
// database does not open. A nil error means that it is good.
func (p place) look(t testing.TB, s store.Store) error {
	t.Helper()
	c, err := backup.List(t.Context(), s)
	if err != nil {
		return err
	}
	if len(c.Entries) == 0 {
		return backup.ErrNoBackup
	}
	e := c.Entries[0]
	if !e.Good() {
		return errors.New(e.Problem)
	}
	verified := backup.Verify(t.Context(), s, e.Manifest, p.keys, nil)
	// What a restore reads must not be better than what verify says. Only digests of the whole are left to the reader.
	sum := sha256.New()
	r, err := backup.OpenDatabase(t.Context(), s, e.Manifest, p.keys)
	if err == nil {
		_, err = io.Copy(sum, r)
		_ = r.Close()
	}
	if err == nil && fmt.Sprintf("%x", sum.Sum(nil)) != e.Manifest.Database.SHA256 {
		err = backup.ErrDamaged
	}
	if err != nil && verified == nil {
		t.Errorf("verified, and does not open: %v", err)
	}
	return verified
}

// P14, I17: a backup of which any bit was changed is never good, and says which of its objects is damaged.
func TestFlippedBits(t *testing.T) {
	data := database(t, 60)
	for _, encrypted := range []bool{false, true} {
		p := newPlace(t, encrypted)
		m := p.create(t, data)
		if _, err := backup.WriteProof(t.Context(), p.s, m, backup.Proof{At: time.Now().UTC(), EtcdVersion: "3.7.3"}); err != nil {
			t.Fatal(err)
		}
		for _, path := range objects(t, p, m.ID) {
			name := filepath.Base(path)
			good := read(t, path)
			for at := 0; at < len(good); at += max(1, min(len(good)/50, 37)) {
				if at > 800 && at < len(good)-300 && at%23 != 0 { // the headers and ends of all formats are tried densely
					continue
				}
				b := bytes.Clone(good)
				b[at] ^= 1 << (at % 8)
				write(t, path, b)
				what := fmt.Sprintf("%s flipped at %d, encrypted %t", name, at, encrypted)
				switch e := p.list(t).Entries[0]; name {
				case "proof.json":
					// A proof that was changed proves nothing; the backup is what it was.
					if !e.Good() || e.Proof != nil {
						t.Errorf("%s: %+v", what, e.Proof)
					}
				case "manifest.json":
					if e.Good() || e.Unread != strings.Contains(e.Problem, "newer format") || !strings.Contains(e.Problem, "manifest is damaged") && !e.Unread {
						t.Errorf("%s: %+v", what, e)
					}
				default:
					if err := p.look(t, p.s); !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), name) {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
			write(t, path, good)
		}
		if err := p.look(t, p.s); err != nil {
			t.Fatalf("put back: %v", err)
		}
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func chtimes(t testing.TB, path string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each kind of damage has words of its own. Nothing of what is there is touched by looking.
func TestDamage(t *testing.T) {
	data := database(t, 300)
	places, made := map[bool]place{}, map[bool]backup.Manifest{}
	for _, encrypted := range []bool{false, true} {
		places[encrypted] = newPlace(t, encrypted)
		made[encrypted] = places[encrypted].create(t, data)
	}
	for _, row := range []struct {
		name      string
		encrypted bool
		object    string // what is damaged
		damage    func([]byte) []byte
		says      string
	}{
		{"no manifest", false, "manifest.json", nil, "no such backup"},
		{"an empty manifest", false, "manifest.json", func([]byte) []byte { return []byte{} }, "the manifest is damaged"},
		{"half a manifest", false, "manifest.json", func(b []byte) []byte { return b[:len(b)/2] }, "the manifest is damaged"},
		{"a huge manifest", false, "manifest.json", func(b []byte) []byte { return append(b, make([]byte, 2<<20)...) }, "more than 1048576 bytes"},
		{"another revision in the manifest", false, "manifest.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"revision": 301`), []byte(`"revision": 302`), 1)
		}, "does not match its digest"},
		{"a newer format", false, "manifest.json", remade(func(m *backup.Manifest) { m.FormatVersion = 2 }), "version 2, known is 1; use a newer ceo"},
		{"no format", false, "manifest.json", remade(func(m *backup.Manifest) { m.FormatVersion = 0 }), "no format version"},
		{"another backup's manifest", false, "manifest.json", remade(func(m *backup.Manifest) { m.ID = "20200101t000000z-0000" }), "it is that of 20200101t000000z-0000"},
		{"a manifest that leads elsewhere", false, "manifest.json", remade(func(m *backup.Manifest) { m.Database.Object = "../x" }), "no name"},
		{"a manifest of other content", false, "manifest.json", remade(func(m *backup.Manifest) { m.Database.Revision = 7 }), "not the one that the manifest describes"},
		{"another digest", false, "manifest.json", remade(func(m *backup.Manifest) { m.Database.SHA256 = strings.Repeat("ab", 32) }), "not the one that the manifest describes"},
		{"the files' digest", false, "manifest.json", remade(func(m *backup.Manifest) { m.Resources.SHA256 = strings.Repeat("ab", 32) }), "not those that the manifest describes"},
		{"no database", false, "database.zst", nil, "database.zst is missing"},
		{"an empty database", false, "database.zst", func([]byte) []byte { return []byte{} }, "database.zst has 0 bytes"},
		{"a database cut short", false, "database.zst", func(b []byte) []byte { return b[:len(b)-1] }, "were written"},
		{"a database with more", false, "database.zst", func(b []byte) []byte { return append(b, 0) }, "were written"},
		{"another database", false, "database.zst", func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }, "no frame begins here"},
		{"no files", false, "resources.tar.zst", nil, "resources.tar.zst is missing"},
		{"files cut short", false, "resources.tar.zst", func(b []byte) []byte { return b[:len(b)/2] }, "were written"},
		{"other files", false, "resources.tar.zst", func(b []byte) []byte { return make([]byte, len(b)) }, "resources.tar.zst"},
		{"the encryption's header", true, "database.zst.age", func(b []byte) []byte { return letter(b, 60) }, "header of its encryption"},
		{"the encryption's first line", true, "database.zst.age", func(b []byte) []byte { return flipped(b, 3) }, "the backup is damaged"},
		{"encrypted content", true, "database.zst.age", func(b []byte) []byte { return flipped(b, len(b)-20) }, "the backup is damaged"},
		{"encrypted files", true, "resources.tar.zst.age", func(b []byte) []byte { return letter(b, 60) }, "header of its encryption"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := places[row.encrypted].copied(t)
			path := filepath.Join(p.dir, made[row.encrypted].ID, row.object)
			if row.damage == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, path, row.damage(read(t, path)))
			}
			before := tree(t, p.dir)
			err := p.look(t, p.s)
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("%v does not say %q", err, row.says)
			}
			if got := tree(t, p.dir); got != before {
				t.Fatalf("looking changed it:\n%s\n%s", before, got)
			}
		})
	}
}

// letter changes one within a base64 text, which stays one.
func letter(b []byte, at int) []byte {
	b = bytes.Clone(b)
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return b
}

// remade is a manifest that was changed by somebody who made its digest anew.
func remade(change func(*backup.Manifest)) func([]byte) []byte {
	return func(b []byte) []byte {
		m, err := backup.DecodeManifest(b)
		if err == nil {
			change(&m)
			b, err = m.Encode()
		}
		if err != nil {
			panic(err)
		}
		return b
	}
}

// tree is what lies below a folder, with digests.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fmt.Fprintf(&out, "%s %x\n", strings.TrimPrefix(path, dir), sha256.Sum256(read(t, path)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// P14: a store that ends a read too early at any border, and says nothing of it, makes no good backup: not at the ends of
// frames, not at those of the encryption's chunks of 64 KiB.
func TestCutAtEveryBorder(t *testing.T) {
	data := database(t, 4800) // two frames
	for _, encrypted := range []bool{false, true} {
		p := newPlace(t, encrypted)
		m := p.create(t, data)
		name := m.Database.Object
		b := read(t, filepath.Join(p.dir, m.ID, name))
		borders := map[int]bool{1: true, len(b) - 40: true, len(b) - 1: true}
		if encrypted {
			header := bytes.Index(b, []byte("\n--- ")) + 1 + len("--- ") + 43 + 1 // its last line has a MAC
			borders[header] = true
			for at := header + 16; at < len(b); at += 64<<10 + 16 { // a nonce, then chunks with a tag each
				borders[at] = true
			}
		} else {
			for at := range b {
				if bytes.HasPrefix(b[at:], []byte("CEOF")) || bytes.HasPrefix(b[at:], []byte("CEOE")) {
					borders[at] = true
				}
			}
		}
		if len(borders) < 6 {
			t.Fatalf("borders %v of %d", borders, len(b))
		}
		for at := range borders {
			for _, d := range []int{-1, 0, 1} {
				n := int64(at + d)
				if n < 1 || n >= int64(len(b)) {
					continue
				}
				s := storetest.NewFaulty(p.s, storetest.Fault{Keys: name, Truncate: n})
				if err := p.look(t, s); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, store.ErrLength) {
					t.Errorf("cut at %d of %d, encrypted %t: %v", n, len(b), encrypted, err)
				}
			}
		}
	}
}

// A snapshot that is damaged, also under a right hash, or that ends early, makes no backup and leaves nothing.
func TestBadSource(t *testing.T) {
	data := database(t, 3000)
	for name, b := range map[string][]byte{
		"cut": data[:len(data)/2], "flipped": flipped(data, len(data)/2), "empty": nil, "something else": []byte(strings.Repeat("x", 100_000)),
		"no hash": data[:len(data)-32],
	} {
		p := newPlace(t, false)
		if _, err := backup.Create(t.Context(), p.params(t, b)); err == nil {
			t.Errorf("%s: made a backup", name)
		}
		if left, _ := os.ReadDir(p.dir); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 4
	return b
}

func TestWrongKey(t *testing.T) {
	data := database(t, 300)
	p, other := newPlace(t, true), newPlace(t, true)
	m := p.create(t, data)
	for name, ids := range map[string]backup.Identities{"another": other.keys, "none": {}} {
		err := backup.Verify(t.Context(), p.s, m, ids, nil)
		if !errors.Is(err, backup.ErrWrongKey) || !strings.Contains(err.Error(), p.c.Recipients[0]) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := backup.OpenDatabase(t.Context(), p.s, m, ids); !errors.Is(err, backup.ErrWrongKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A node that may only make backups compares what it stored.
	q := newPlace(t, true)
	q.c.IdentityFile = ""
	if m := q.create(t, data); m.ReadBack != backup.StoredBytes {
		t.Errorf("%+v", m)
	}
}

// A reading back that finds something else than was sent makes no backup (I17).
func TestReadBack(t *testing.T) {
	p := newPlace(t, false)
	q := p.params(t, database(t, 3000))
	q.Store = &liar{Store: p.s}
	_, err := backup.Create(t.Context(), q)
	if err == nil || !strings.Contains(err.Error(), "read back") {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(p.dir); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
}

// liar flips a bit of what it was given to keep.
type liar struct{ store.Store }

func (l *liar) Create(ctx context.Context, key string) (store.Writer, error) {
	w, err := l.Store.Create(ctx, key)
	return &lying{Writer: w}, err
}

type lying struct {
	store.Writer
	n int
}

func (l *lying) Write(p []byte) (int, error) {
	b := bytes.Clone(p)
	if l.n += len(p); l.n > 50_000 {
		b[len(b)-1] ^= 1
	}
	return l.Writer.Write(b)
}
