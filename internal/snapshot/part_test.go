package snapshot_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"clusteretcd.io/ceo/internal/snapshot"
)

func TestReceive(t *testing.T) {
	data := []byte("some bytes of a snapshot")
	sum := sha256.Sum256(data)
	good := hex.EncodeToString(sum[:])
	for _, row := range []struct {
		name string
		sum  string
		size int64
		want error
	}{
		{"whole", good, int64(len(data)), nil},
		{"cut short in transit", good, int64(len(data)) + 1, snapshot.ErrTruncated},
		{"changed in transit", hex.EncodeToString(make([]byte, 32)), int64(len(data)), snapshot.ErrHashMismatch},
		{"no checksum given", "", int64(len(data)), snapshot.ErrHashMismatch},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "s.db")
			// What an interrupted run left, with too open a mode.
			if err := os.WriteFile(path+".part", []byte("left by an earlier run, longer than the new one"), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := snapshot.Receive(path)
			if err != nil {
				t.Fatal(err)
			}
			if st, err := os.Stat(p.PartPath()); err != nil || st.Mode().Perm() != 0o600 {
				t.Fatalf("%v, %v", st, err)
			}
			if _, err := snapshot.Receive(path); !errors.Is(err, snapshot.ErrBusy) {
				t.Fatalf("two at once: %v", err)
			}
			for _, b := range [][]byte{data[:3], data[3:]} {
				if _, err := p.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Commit(row.sum, row.size); !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if err := p.Abort(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if row.want == nil && (err != nil || string(got) != string(data)) || row.want != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%q, %v", got, err)
			}
			if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf(".part is left: %v", err)
			}
		})
	}
}

func TestReceiveNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	p, err := snapshot.Receive(path)
	if err != nil {
		t.Fatal(err)
	}
	// It appears while the transfer runs.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(p.SHA256(), 0); !errors.Is(err, snapshot.ErrExists) {
		t.Fatalf("got %v", err)
	}
	if err := p.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Receive(path); !errors.Is(err, snapshot.ErrExists) {
		t.Fatalf("got %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Fatalf("%q, %v", got, err)
	}
}
