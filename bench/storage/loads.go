package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"clusteretcd.io/ceo/bench/storage/measure"
)

const (
	limits = "what a restore cannot be faster than"

	byWrite    = "write + fsync of the database alone"
	byHash     = "SHA-256 of the database alone"
	byDownload = "download alone"
	afterLast  = "ceo restore: of it, after the last byte had come"
)

// loading names a restore from a place.
func loading(place string) string { return "restore of a backup in " + place }

// loads measures a restore from a store, and what bounds it.
func (b *bench) loads(ctx context.Context, g *generated, db *Database) error {
	if !b.tools.ceoCan(ctx, "--store", "restore") {
		b.say("%s: ceo restore takes no backups yet", db.Name)
		return nil
	}
	kept := filepath.Join(b.scratch, "kept")
	defer func() { _ = os.RemoveAll(kept) }() // removed with the scratch folder if not now
	p, err := b.folderPlace(kept)
	if err != nil {
		return err
	}
	size := strconv.FormatInt(g.Size, 10)
	ways := []way{{byWrite, func(ctx context.Context) error {
		s, _, err := b.child(ctx, childWrite, size, b.path("f"))
		if err == nil {
			b.took(db, limits, byWrite, s)
		}
		return err
	}}, {byHash, func(ctx context.Context) error {
		s, _, err := b.child(ctx, childHash, size)
		if err == nil {
			b.took(db, limits, byHash, s)
		}
		return err
	}}}
	from, err := b.loadsFrom(ctx, g, db, p)
	if err != nil {
		return err
	}
	return b.eachRound(ctx, append(ways, from...))
}

// loadsFrom makes a backup in a place, once, and gives the ways to get it back.
func (b *bench) loadsFrom(ctx context.Context, g *generated, db *Database, p place) (ways []way, err error) {
	var m made
	err = b.serving(ctx, g, func(e *etcd) error {
		m, err = b.backUp(ctx, p, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	db.Stored = m.manifest.Database.StoredSize
	return []way{{byDownload, func(ctx context.Context) error {
		s, _, err := b.child(ctx, childDownload, p.config, m.manifest.ID+"/"+m.manifest.Database.Object)
		if err == nil {
			b.took(db, loading(p.name), byDownload, s)
		}
		return err
	}}, {byCeo, func(ctx context.Context) error {
		args := append(restoreArgs(m.manifest.ID, b.path("data"))[1:], "--config", p.config, "-o", "json")
		s, out, err := measure.Run(ctx, measure.Command{Path: b.tools.ceo, Args: args})
		if err != nil {
			return err
		}
		left, err := afterLastByte(out)
		if err != nil {
			return err
		}
		b.took(db, loading(p.name), byCeo, s)
		b.took(db, loading(p.name), afterLast, measure.Sample{Seconds: left})
		_, err = b.firstPut(ctx, g.Revision+bump)
		return err
	}}}, nil
}

// afterLastByte reads what ceo restore says of itself: all that came after its first part, which ends with the last byte.
func afterLastByte(out []byte) (float64, error) {
	var r struct {
		Seconds float64 `json:"seconds"`
		Parts   []struct {
			Seconds float64 `json:"seconds"`
		} `json:"parts"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, fmt.Errorf("what ceo restore printed: %w: %s", err, out)
	}
	if len(r.Parts) < 2 || r.Seconds < r.Parts[0].Seconds {
		return 0, errors.New("ceo restore does not say how long its parts took")
	}
	return r.Seconds - r.Parts[0].Seconds, nil
}
