package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"clusteretcd.io/ceo/bench/storage/measure"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/store"
)

// Where backups lie, for the tables.
const (
	inFolder = "a folder (file://)"
	inS3     = "an S3 server on loopback"
)

// place is a store that backups go to.
type place struct {
	name   string
	config string // path of its backup.yaml
}

// folderPlace is a store in a folder.
func (b *bench) folderPlace(dir string) (place, error) {
	return b.writePlace(inFolder, "file://"+dir, store.Credentials{})
}

// writePlace writes the configuration; JSON is YAML.
func (b *bench) writePlace(name, url string, c store.Credentials) (place, error) {
	data, err := json.Marshal(map[string]any{"location": url, "credentials": c, "resources": false})
	if err != nil {
		return place{}, err
	}
	f, err := os.CreateTemp(b.scratch, "backup-*.yaml") // its owner's alone
	if err != nil {
		return place{}, err
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return place{}, err
	}
	path, err := filepath.Abs(f.Name())
	if err != nil {
		_ = f.Close()
		return place{}, err
	}
	return place{name, path}, f.Close()
}

// backUp makes a backup there of a running etcd.
func (b *bench) backUp(ctx context.Context, p place, e *etcd) (s made, err error) {
	var out []byte
	if s.Sample, out, err = b.child(ctx, childBackup, p.config, e.url); err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s.manifest)
}

type made struct {
	measure.Sample
	manifest backup.Manifest
}
