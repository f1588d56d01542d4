package backup_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/store"
)

// FuzzManifest: whatever lies there as manifest.json, it is refused or is the canonical form of what was read, leads to
// no other folder and asks for no memory that a backup would not need.
func FuzzManifest(f *testing.F) {
	p := newPlace(f, false)
	m := p.create(f, database(f, 10))
	b, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Add(bytes.Replace(b, []byte(`"formatVersion": 1`), []byte(`"formatVersion": 2`), 1))
	f.Add(bytes.Replace(b, []byte("database.zst"), []byte("../../../etc"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := backup.DecodeManifest(b)
		if err != nil {
			if !errors.Is(err, backup.ErrManifest) && !errors.Is(err, backup.ErrNewer) {
				t.Fatalf("an error without a name: %v", err)
			}
			// Whoever makes the digest anew may write what they like, and still leads nowhere.
			if m, err = backup.Remade(b); err != nil {
				return
			}
		} else if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("taken, and written differently: %v", err)
		}
		names := []string{m.Database.Object}
		if m.Resources != nil {
			names = append(names, m.Resources.Object)
		}
		for _, name := range names {
			if strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") {
				t.Fatalf("leads elsewhere: %s", name)
			}
		}
	})
}

// FuzzProof: a proof counts for the manifest that it was made for, or not at all.
func FuzzProof(f *testing.F) {
	p := newPlace(f, false)
	m := p.create(f, database(f, 10))
	if _, err := backup.WriteProof(f.Context(), p.s, m, backup.Proof{At: time.Unix(0, 0).UTC(), EtcdVersion: "3.7.3"}); err != nil {
		f.Fatal(err)
	}
	r, err := p.s.Range(f.Context(), m.ID+"/proof.json", 0, -1)
	if err != nil {
		f.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := backup.DecodeProof(b, m)
		if err == nil && got.ManifestSHA256 != m.Digest {
			t.Fatalf("of another manifest: %+v", got)
		}
		if err != nil && !errors.Is(err, backup.ErrManifest) && !errors.Is(err, backup.ErrNewer) {
			t.Fatalf("an error without a name: %v", err)
		}
	})
}

// FuzzDatabase: whatever lies there as the database, it is damaged or is what the manifest describes; opened by ranges
// it is the same as read in one go.
func FuzzDatabase(f *testing.F) {
	s, err := store.Open(f.Context(), store.Config{URL: "mem://fuzz"})
	if err != nil {
		f.Fatal(err)
	}
	p := place{s: s, c: backup.Config{Location: "mem://fuzz"}}
	q := p.params(f, database(f, 10))
	q.Resources = nil
	m, err := backup.Create(f.Context(), q)
	if err != nil {
		f.Fatal(err)
	}
	r, err := s.Range(f.Context(), m.ID+"/"+m.Database.Object, 0, -1)
	if err != nil {
		f.Fatal(err)
	}
	good, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := s.Create(t.Context(), m.ID+"/"+m.Database.Object)
		if err == nil {
			_, err = w.Write(b)
		}
		if err == nil {
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		// A manifest that fits as far as anybody can make it fit.
		described := m
		described.Database.StoredSize = int64(len(b))
		verified := backup.Verify(t.Context(), s, described, p.keys, nil)
		if verified == nil && !bytes.Equal(b, good) {
			t.Fatal("verified, and is another")
		}
		r, err := backup.OpenDatabase(t.Context(), s, described, p.keys)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if err != nil && verified == nil {
			t.Fatalf("verified, and does not open: %v", err)
		}
		for _, err := range []error{verified, err} {
			if err != nil && !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNewer) {
				t.Fatalf("an error without a name: %v", err)
			}
		}
	})
}
