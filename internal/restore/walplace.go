package restore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
)

// walPlace is a WAL directory outside of the data dir, often a disk of its own. It can not be renamed together with the
// data dir, so it is complete before: until the data dir's one step nothing starts on either, and what an interrupted
// restore left in it is known by a marker.
//
// A nil walPlace is the usual case: the WAL is part of the member directory.
type walPlace struct {
	dir    string
	made   []string // directories that did not exist, deepest first
	placed []string // files put in place
}

const (
	walMarker   = ".ceo-restore.json"
	walBuilding = ".ceo-restore-wal"
)

// walMark says whose unfinished WAL it is. Files are those that were put in place and their SHA-256: one that differs
// was written to since, by an etcd, and is not ours to remove (I1).
type walMark struct {
	DataDir string            `json:"dataDir"`
	Files   map[string]string `json:"files,omitempty"`
}

var walFile = regexp.MustCompile(`^[0-9a-f]{16}-[0-9a-f]{16}\.wal$`)

// absoluteWAL: empty is the place in the data dir, however it is spelt.
func absoluteWAL(dataDir, walDir string) (string, error) {
	if walDir == "" {
		return "", nil
	}
	walDir, err := filepath.Abs(walDir)
	if err != nil || walDir == datadir.WALDir(dataDir) {
		return "", err
	}
	for _, pair := range [][2]string{{dataDir, walDir}, {walDir, dataDir}} {
		if rel, err := filepath.Rel(pair[0], pair[1]); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return "", fmt.Errorf("the WAL directory %s and the data dir can not lie in each other", walDir)
		}
	}
	return walDir, nil
}

func claimWAL(dir, dataDir string) (*walPlace, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // nil is the usual case, and every method takes it
	}
	const walFiles = 2 * 64_000_000
	at, err := existing(dir)
	if err != nil {
		return nil, err
	}
	if err := datadir.RequireSpace(at, walFiles); err != nil {
		return nil, err
	}
	if err := clearWAL(dir, dataDir); err != nil {
		return nil, err
	}
	w := &walPlace{dir: dir}
	if w.made, err = missing(dir); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return w, err
	}
	if err := durable.WriteJSON(filepath.Join(dir, walMarker), walMark{DataDir: dataDir}, 0o600); err != nil {
		return w, err
	}
	durable.Point("restore: WAL directory is ours")
	return w, nil
}

// clearWAL removes what an interrupted restore of the same data dir left, and refuses anything else.
func clearWAL(dir, dataDir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mark, markErr := durable.ReadJSON[walMark](filepath.Join(dir, walMarker))
	ours := markErr == nil && mark.DataDir == dataDir
	var others []string
	var files []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "lost+found":
		case strings.HasPrefix(name, "."+walMarker+".tmp-"):
			// A marker on its way, before there was one: there is nothing in it.
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		case ours && (name == walMarker || name == walBuilding || name == walBuilding+".tmp"):
		case ours && walFile.MatchString(name) && mark.Files[name] != "":
			sum, err := sumOf(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if sum != mark.Files[name] {
				others = append(others, name+" (an etcd has written to it)")
			}
			files = append(files, name)
		default:
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		return fmt.Errorf("%w: the WAL directory %s holds %s; choose another one, or move it aside",
			datadir.ErrOccupied, dir, strings.Join(others, ", "))
	}
	if !ours {
		return nil
	}
	return removeAll(dir, files)
}

// removeAll removes the files named, and the marker last.
func removeAll(dir string, files []string) error {
	for _, name := range append([]string{walBuilding, walBuilding + ".tmp"}, files...) {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, walMarker)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncDir(dir)
}

// building is where the WAL is built, for a data dir that is built at staging.
func (w *walPlace) building(staging string) string {
	if w == nil {
		return datadir.WALDir(staging)
	}
	return filepath.Join(w.dir, walBuilding)
}

// link shows the WAL at its usual place while the data dir is read back.
func (w *walPlace) link(staging string) (unlink func() error, err error) {
	if w == nil {
		return func() error { return nil }, nil
	}
	at := datadir.WALDir(staging)
	if err := os.Symlink(w.building(staging), at); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(at) }, nil
}

// put moves the finished files to where etcd looks for them.
func (w *walPlace) put() error {
	if w == nil {
		return nil
	}
	from := w.building("")
	if err := durable.SyncTree(from); err != nil {
		return err
	}
	mark, err := durable.ReadJSON[walMark](filepath.Join(w.dir, walMarker))
	if err != nil {
		return err
	}
	mark.Files = map[string]string{}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if mark.Files[e.Name()], err = sumOf(filepath.Join(from, e.Name())); err != nil {
			return err
		}
	}
	if err := durable.WriteJSON(filepath.Join(w.dir, walMarker), mark, 0o600); err != nil {
		return err
	}
	for name := range mark.Files {
		if err := durable.RenameNew(filepath.Join(from, name), filepath.Join(w.dir, name)); err != nil {
			return err
		}
		w.placed = append(w.placed, name)
	}
	durable.Point("restore: WAL in place")
	return nil
}

// undo removes what was put there; done, only the traces of it.
func (w *walPlace) undo() error {
	if w == nil {
		return nil
	}
	if _, err := os.Lstat(w.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := removeAll(w.dir, w.placed); err != nil {
		return err
	}
	removeEmpty(w.made)
	return nil
}

func (w *walPlace) done() {
	if w != nil {
		_ = removeAll(w.dir, nil)
	}
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // in the WAL directory that the user names
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
