package keep

import (
	"context"
	"io"
	"strings"

	"clusteretcd.io/ceo/internal/backup"
)

// Picked is a backup that can be read. Close it.
type Picked struct {
	Entry backup.Entry
	// URL of the backup itself, without credentials; it picks the same one again.
	URL string

	from *opened
}

// Pick picks a backup as Find does, from one reading of the catalogue.
func (k Keeper) Pick(ctx context.Context, name string) (*Picked, error) {
	o, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	e, err := find(ctx, o, name)
	if err != nil {
		_ = o.Close()
		return nil, err
	}
	at, query, _ := strings.Cut(o.URL(), "?")
	if query != "" {
		query = "?" + query
	}
	return &Picked{Entry: e, URL: at + "/" + e.ID + query, from: o}, nil
}

// Database begins the snapshot file, decrypted, as backup.OpenDatabase does.
func (p *Picked) Database(ctx context.Context) (io.ReadCloser, error) {
	return backup.OpenDatabase(ctx, p.from.Store, p.Entry.Manifest, p.from.identities)
}

// Close ends it; streams that were begun are closed before.
func (p *Picked) Close() error { return p.from.Close() }
