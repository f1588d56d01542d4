package render

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// Look reads what is there below root.
func Look(root string, o Options) (Have, string, error) {
	have := Have{}
	for _, p := range Paths(o) {
		raw, err := os.ReadFile(filepath.Join(root, p)) //nolint:gosec // fixed names below the root that the caller names
		switch {
		case err == nil:
			have[p] = raw
		case !errors.Is(err, fs.ErrNotExist):
			return nil, "", fmt.Errorf("look at what is there: %w", err)
		}
	}
	// Whatever lies there is somebody's, also what no etcd would take for its own (I1).
	entries, err := os.ReadDir(filepath.Join(root, dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("look at etcd's data dir: %w", err)
	}
	for _, e := range entries {
		// A file system of its own has this one from the beginning.
		if e.Name() != "lost+found" {
			return have, e.Name(), nil
		}
	}
	return have, "", nil
}

// Write puts the files that are not there below root, in their order, each whole or not at all, and replaces none: one
// that came about meanwhile is an error. Interrupted, it goes on where it was when it is called again (I20): a key that
// is there is used, and etcd's manifest is the last. It says which it wrote.
func Write(root string, files []File, have Have) ([]string, error) {
	asRoot := os.Geteuid() == 0
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		// Below another root these are made, and copied to a node later.
		{"/etc", 0o755},
		{filepath.Dir(on.State()), 0o755},
		{filepath.Dir(on.Manifests()), 0o755},
		{on.KubernetesPKI(), 0o755},
		{on.EtcdPKI(), 0o755},
		{on.State(), 0o700},
		{dataDir, 0o700},
		{on.Manifests(), 0o700},
	} {
		err := durable.MkdirAll(filepath.Join(root, d.path), d.mode)
		if d.path == dataDir && errors.Is(err, syscall.EROFS) {
			// A Pod that does not see the data dir, as the installer's; the kubelet makes it for etcd's.
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	var written []string
	for _, f := range files {
		if _, there := have[f.Path]; there {
			continue
		}
		path := filepath.Join(root, f.Path)
		if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return written, err
		}
		owner := f.Owner
		if !asRoot {
			// The agent gives it to its owner once it runs.
			owner = -1
		}
		if owner >= 0 {
			if err := os.Chown(filepath.Dir(path), owner, owner); err != nil {
				return written, fmt.Errorf("give %s to user %d: %w", filepath.Dir(path), owner, err)
			}
		}
		if err := create(path, f.Data, f.Mode, owner); err != nil {
			return written, err
		}
		written = append(written, f.Path)
	}
	return written, nil
}

// create is durable.WriteFile for a name that must not exist: the whole file gets its name by a link, which never
// replaces one.
func create(path string, data []byte, mode fs.FileMode, owner int) (err error) {
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".ceo-next-"+rand.Text())
	if err := durable.WriteFile(next, data, mode); err != nil {
		return err
	}
	defer func() {
		_ = os.Remove(next)
		if err == nil {
			err = durable.SyncDir(filepath.Dir(path))
		}
	}()
	if owner >= 0 {
		if err := os.Chown(next, owner, owner); err != nil {
			return fmt.Errorf("give %s to user %d: %w", path, owner, err)
		}
	}
	if err := durable.SyncFile(next); err != nil {
		return err
	}
	if err := os.Link(next, path); err != nil {
		return fmt.Errorf("write %s, which nothing is to be in the place of: %w", path, err)
	}
	return nil
}

// Peers are those of a node.json, by name and address, with the URLs that such a node has.
func Peers(byName map[string]string) []node.Peer {
	var out []node.Peer
	for name, address := range byName {
		out = append(out, node.Peer{Name: name, Address: address, PeerURL: PeerURL(address), ClientURL: ClientURL(address)})
	}
	slices.SortFunc(out, func(a, b node.Peer) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}
