package keep

import (
	"context"
	"time"

	"clusteretcd.io/ceo/internal/backup"
)

// Listing is a catalogue as it was read.
type Listing struct {
	Store string `json:"store"`
	Local bool   `json:"local"`
	// Entries are newest first, those with a problem among them.
	Entries []backup.Entry `json:"backups"`
	// Unfinished folders have no manifest: they are being written, or were left by a run that was killed.
	Unfinished []backup.Unfinished `json:"unfinished,omitempty"`
	At         time.Time           `json:"at"`
}

// List reads the catalogue.
func (k Keeper) List(ctx context.Context) (Listing, error) {
	o, err := k.open(ctx)
	if err != nil {
		return Listing{}, err
	}
	defer func() { _ = o.Close() }()
	l, err := backup.List(ctx, o.Store)
	if err != nil {
		return Listing{}, err
	}
	return Listing{Store: o.URL(), Local: o.Local(), Entries: l.Entries, Unfinished: l.Unfinished, At: k.now().UTC()}, nil
}

// Good are those without a problem, newest first.
func (l Listing) Good() []backup.Entry {
	var out []backup.Entry
	for _, e := range l.Entries {
		if e.Problem == "" {
			out = append(out, e)
		}
	}
	return out
}

// Proven is the newest good one that was proven, nil if none was.
func (l Listing) Proven() *backup.Entry {
	for _, e := range l.Good() {
		if e.Proof != nil {
			return &e
		}
	}
	return nil
}
