package staticpod

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"clusteretcd.io/ceo/internal/durable"
)

// reached is called at each point where a crash would leave another state on disk; the tests crash there.
var reached = func(string) {}

// Place puts a manifest into the kubelet's folder, whole or not at all. The temporary file lies beside the folder, not
// in it: the kubelet runs every file there. A manifest that is there already with the same bytes is left alone, so that
// the kubelet sees no change.
func Place(manifestsDir, name string, data []byte) error {
	dst := filepath.Join(manifestsDir, name)
	if have, err := os.ReadFile(dst); err == nil && bytes.Equal(have, data) { //nolint:gosec // the caller names the folder
		if err := durable.SyncFile(dst); err != nil {
			return err
		}
		return durable.SyncDir(manifestsDir)
	}
	tmp := filepath.Join(filepath.Dir(manifestsDir), "."+name+".ceo-new")
	if err := durable.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("place manifest %s: %w", dst, err)
	}
	reached("place: temporary file written")
	err := durable.Rename(tmp, dst)
	if errors.Is(err, syscall.EXDEV) {
		// The folder is a mount of its own. A dot file inside is the next best: the kubelet ignores those.
		err = durable.WriteFile(dst, data, 0o600)
		_ = os.Remove(tmp)
	}
	if err != nil {
		return fmt.Errorf("place manifest %s: %w", dst, err)
	}
	reached("place: done")
	return nil
}

// TakeOut takes a manifest out of service: it is in stoppedDir afterwards, byte for byte, and no longer in the kubelet's
// folder. It copies rather than renames, as the two folders are different mounts in the agent's container. A manifest
// that was taken out before is no error; one that is in neither place is fs.ErrNotExist.
//
// That the file is gone does not mean that the pod is: ask the container runtime (P10).
func TakeOut(manifestsDir, name, stoppedDir string) error {
	src, dst := filepath.Join(manifestsDir, name), filepath.Join(stoppedDir, name)
	data, err := os.ReadFile(src) //nolint:gosec // the caller names the folder
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dst); err != nil {
			return fmt.Errorf("take out manifest %s: neither there nor in %s: %w", src, stoppedDir, err)
		}
		return durable.SyncDir(manifestsDir)
	}
	if err != nil {
		return fmt.Errorf("take out manifest: %w", err)
	}
	if err := durable.MkdirAll(stoppedDir, 0o700); err != nil {
		return fmt.Errorf("take out manifest %s: %w", src, err)
	}
	// What the kubelet runs is the truth: a copy from before is replaced.
	if err := durable.WriteFile(dst, data, 0o600); err != nil {
		return fmt.Errorf("take out manifest %s: %w", src, err)
	}
	reached("take out: copied")
	if err := os.Remove(src); err != nil {
		return fmt.Errorf("take out manifest: %w", err)
	}
	reached("take out: removed")
	return durable.SyncDir(manifestsDir)
}

// PutBack puts a manifest that was taken out back into service, byte for byte: an unchanged manifest starts at once
// even where the kubelet cannot reach its API server, a changed one may not. It is no error if it is back already.
//
// If another manifest was placed meanwhile (kubeadm, a person), that one stays in service, and the one that was taken
// out is kept beside the stopped ones as NAME.superseded.
func PutBack(manifestsDir, name, stoppedDir string) error {
	src, dst := filepath.Join(stoppedDir, name), filepath.Join(manifestsDir, name)
	data, err := os.ReadFile(src) //nolint:gosec // the caller names the folder
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dst); err != nil {
			return fmt.Errorf("put back manifest %s: neither there nor in %s: %w", dst, stoppedDir, err)
		}
		return durable.SyncDir(manifestsDir)
	}
	if err != nil {
		return fmt.Errorf("put back manifest: %w", err)
	}
	live, err := os.ReadFile(dst) //nolint:gosec // the caller names the folder
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := Place(manifestsDir, name, data); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("put back manifest: %w", err)
	case !bytes.Equal(live, data):
		return durable.Rename(src, src+".superseded")
	}
	reached("put back: placed")
	if err := os.Remove(src); err != nil {
		return fmt.Errorf("put back manifest %s: %w", dst, err)
	}
	reached("put back: copy removed")
	return durable.SyncDir(stoppedDir)
}
