package guard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// keepBinary leaves a copy of the etcd that runs here on the node, where a
// backup can be proven by the very same etcd: the agent has no other way to it,
// least of all when the container runtime is dead. A copy of the same size and
// time is left as it is.
func keepBinary(p node.Paths, name string) error {
	from, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("find etcd: %w", err)
	}
	src, err := os.Open(from) //nolint:gosec // the manifest's own command
	if err != nil {
		return fmt.Errorf("keep a copy of etcd: %w", err)
	}
	defer func() { _ = src.Close() }()
	st, err := src.Stat()
	if err != nil {
		return fmt.Errorf("keep a copy of etcd: %w", err)
	}
	to := p.EtcdBinary()
	old, err := os.Stat(to)
	if err == nil && old.Size() == st.Size() && old.ModTime().Equal(st.ModTime()) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep a copy of etcd: %w", err)
	}
	if err := durable.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".etcd-*")
	if err != nil {
		return fmt.Errorf("keep a copy of etcd: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if err := errors.Join(copyTo(tmp, src), tmp.Close()); err != nil {
		return fmt.Errorf("keep a copy of etcd in %s: %w", filepath.Dir(to), err)
	}
	if err := os.Chtimes(tmp.Name(), st.ModTime(), st.ModTime()); err != nil {
		return fmt.Errorf("keep a copy of etcd: %w", err)
	}
	// It replaces a binary that a proof may be running: a rename leaves that one
	// what it has open.
	return durable.Rename(tmp.Name(), to)
}

func copyTo(to, from *os.File) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Chmod(0o755); err != nil {
		return err
	}
	return to.Sync()
}
