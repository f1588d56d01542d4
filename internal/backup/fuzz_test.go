package backup_test

import (
	"bytes"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/backup"
)

func FuzzManifest(f *testing.F) {
	p := newPlace(f, false)
	b, err := p.create(f, database(f, 10)).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := backup.DecodeManifest(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("taken, and written differently: %v", err)
		}
		if strings.ContainsAny(m.Database.Object, "/\\") {
			t.Fatalf("leads elsewhere: %s", m.Database.Object)
		}
	})
}
