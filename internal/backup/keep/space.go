package keep

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/store"
)

// spare is what else a backup takes: the control plane's files, the manifest, and room for etcd itself, whose data is
// often on the same disk.
const spare = 64 << 20

// requireSpace looks before a byte is written whether a store in a folder has room (P27): a disk that a backup fills is
// often the one that etcd writes to. How far a database compresses is not known before, so all of it is asked for.
func requireSpace(s store.Store, database int64) error {
	if !strings.HasPrefix(s.URL(), "file:") {
		return nil // an object store has no free space that could be asked for
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		return fmt.Errorf("the backup folder: %w", err)
	}
	dir := u.Path
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return fmt.Errorf("the backup folder %s: %w", u.Path, err)
		}
		dir = filepath.Dir(dir) // the folder is made by the first backup
	}
	if err := datadir.RequireSpace(dir, uint64(max(database, 0))+spare); err != nil { //nolint:gosec // not negative
		return fmt.Errorf("no room for a backup in %s: %w; `ceo backup prune` says what may go", u.Path, err)
	}
	return nil
}

// needs says of a full store what a backup takes; the store's error has the path.
func needs(database int64, err error) error {
	if !errors.Is(err, store.ErrFull) {
		return err
	}
	return fmt.Errorf("%w; a backup of this database takes up to %.1f MiB: make room (`ceo backup prune` says what may go) or choose another place", err, float64(database+spare)/(1<<20))
}
