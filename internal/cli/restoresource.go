package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/cli/ui"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/restore"
)

// ForeignSnapshot is the one risk of `ceo restore` that can be accepted (see docs/adr/0009).
const ForeignSnapshot = "foreign-snapshot"

// named is what SOURCE names: a file, or a backup in a store.
type named struct {
	file string // absolute
	name string // of a backup, as backup.Find takes it
	// store is empty for the configured one.
	store string
	// or is said with an error that there is no such backup, or when a file was taken that could be one.
	or string
}

// named tells what SOURCE means. A file that is there is taken before a backup of the same name, except from --store.
func (o RestoreOptions) named() (named, error) {
	src := o.Source
	if strings.Contains(src, "://") {
		if o.Store != "" {
			return named{}, errors.New("the source is a URL, which says where the backup is, and so does --store: leave one of them out")
		}
		return backupURL(src)
	}
	bare := src != "" && !strings.Contains(src, "/")
	if o.Store != "" {
		if !bare {
			return named{}, fmt.Errorf("%q is no backup's name, which --store needs: give latest, latest-proven or one that `ceo backup list` shows", src)
		}
		return named{name: src, store: o.Store}, nil
	}
	path, err := filepath.Abs(src)
	if err != nil {
		return named{}, fmt.Errorf("%s: %w", src, err)
	}
	could := bare && couldBeBackup(src)
	st, err := os.Stat(path)
	switch {
	case err == nil && (st.Mode().IsRegular() || !could):
		n := named{file: path}
		if could {
			n.or = fmt.Sprintf("taking the file %s; a backup of that name would be meant by --store, or by its whole URL", path)
		}
		return n, nil
	case could:
		return named{name: src, or: "nor is there a file " + path}, nil
	case bare && errors.Is(err, os.ErrNotExist):
		return named{}, fmt.Errorf("there is no file %s, and %q is no backup's name: that is latest, latest-proven, or one that `ceo backup list` shows", path, src)
	}
	return named{file: path}, nil
}

// couldBeBackup tells a name in the catalogue from a file's.
func couldBeBackup(s string) bool {
	digits := s != "" && strings.Trim(s, "0123456789") == ""
	return s == backup.Latest || s == backup.LatestProven || digits || backup.LooksLikeID(s)
}

// backupURL takes the URL of a backup apart: the store's, and the last part of the path. Its errors show no URL, which may
// have a password in it.
func backupURL(raw string) (named, error) {
	base, query, hasQuery := strings.Cut(raw, "?")
	scheme, rest, _ := strings.Cut(base, "://")
	rest = strings.TrimRight(rest, "/")
	i := strings.LastIndexByte(rest, '/')
	name := rest[i+1:]
	switch {
	case i >= 0 && couldBeBackup(name):
	case scheme == "file" && isRegular(rest):
		return named{}, fmt.Errorf("file:// names a store of backups; a snapshot file is named by its path: %s", rest)
	default:
		return named{}, fmt.Errorf("the URL names a store, and not a backup in it: end its path with a backup's name, or with latest, as %s://…/latest", scheme)
	}
	n := named{name: name, store: scheme + "://" + rest[:i]}
	if hasQuery {
		n.store += "?" + query
	}
	return n, nil
}

// opened is what the restore reads.
type openedSource struct {
	restore.Source
	warnings []string
	close    func()
}

// source opens what is to be restored, and says what was taken and what does not fit this node. own: it is this node's own
// data dir that is to be made, where what does not fit is refused (I25).
func (o RestoreOptions) source(ctx context.Context, s Streams, own bool) (openedSource, error) {
	n, err := o.named()
	if err != nil {
		return openedSource{}, err
	}
	if n.file != "" {
		if n.or != "" {
			s.say("%s", n.or)
		}
		return openedSource{Source: restore.Source{Path: n.file}, close: func() {}}, nil
	}
	k := keep.Keeper{Paths: o.Paths, Version: Version, Config: o.Config, Store: n.store}
	p, err := k.Pick(ctx, n.name)
	if errors.Is(err, backup.ErrNoBackup) && n.or != "" {
		err = fmt.Errorf("%w; %s", err, n.or)
	}
	if err != nil {
		return openedSource{}, err
	}
	m := p.Entry.Manifest
	s.say("backup %s", ui.BackupLine(p.Entry, p.URL))
	warnings, err := o.fits(m, own)
	if err != nil {
		_ = p.Close()
		return openedSource{}, err
	}
	return openedSource{
		Source: restore.Source{
			Open:  func(ctx context.Context) (io.ReadCloser, error) { return p.Database(ctx) },
			Label: p.URL, Size: m.Database.Size, SHA256: m.Database.SHA256,
			Revision: m.Database.Revision, StorageVersion: m.Database.StorageVersion,
		},
		warnings: warnings,
		close:    func() { _ = p.Close() },
	}, nil
}

// fits compares this node with the backup. Where the data goes may be another node, so that it is said and not refused;
// but not what this node's own control plane could not work with (P7, I25).
func (o RestoreOptions) fits(m backup.Manifest, own bool) (warnings []string, err error) {
	here, unread := o.here()
	if unread != "" {
		return []string{"this node's keys were not compared with the backup's: " + unread}, nil
	}
	if here.EtcdCA == "" && here.KubernetesCA == "" { // no control plane here
		if keys := m.Cluster.EncryptionKeys; len(keys) > 0 {
			warnings = append(warnings, "Secrets in it are encrypted with "+strings.Join(keys, ", ")+": no API server can read them without")
		}
		return warnings, nil
	}
	for _, d := range backup.Compare(here, m) {
		foreign := d.Field == backup.FieldEtcdCA || d.Field == backup.FieldKubernetesCA
		switch {
		case own && d.Field == backup.FieldEncryptionKeys:
			return nil, exitf(ExitRefused, "backup %s: %s; or restore it into another directory than this node's data dir", m.ID, d.Text)
		case own && foreign && !slices.Contains(o.AcceptRisks, ForeignSnapshot):
			return nil, exitf(ExitRefused, "backup %s: %s, and this is this node's data dir; if that is what you want, add --accept-risk=%s", m.ID, d.Text, ForeignSnapshot)
		}
		warnings = append(warnings, d.Text)
	}
	return warnings, nil
}

// here is what this node has of keys and CAs; unread says why that is not known.
func (o RestoreOptions) here() (here backup.Cluster, unread string) {
	_, here, err := backup.GatherResources(o.Paths, nil)
	if err != nil {
		unread = err.Error()
	}
	return here, unread
}

// own gives this node's configuration if the data dir is its own.
func (o RestoreOptions) own() (node.Config, bool) {
	c, err := node.Load(o.Paths)
	if err != nil {
		return node.Config{}, false // a laptop, or a node without ceo
	}
	return c, samePlace(c.DataDir, o.DataDir)
}

// samePlace follows links, as far as there is something.
func samePlace(a, b string) bool {
	real := func(path string) string {
		if r, err := filepath.EvalSymlinks(path); err == nil {
			return r
		}
		if r, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			return filepath.Join(r, filepath.Base(path))
		}
		return filepath.Clean(path)
	}
	return real(a) == real(b)
}
