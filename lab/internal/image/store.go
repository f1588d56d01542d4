package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"clusteretcd.io/ceo/lab/internal/progress"
)

// storeConfig runs a containerd that can import and unpack, and nothing else.
const storeConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "%[1]s/c.sock"
[ttrpc]
  address = "%[1]s/t.sock"
`

// BuildStore imports the image tars into a new containerd root at dir. A node starts from a copy of it instead of importing the same
// images again, which would take half of the time of a whole `lab up`.
func BuildStore(ctx context.Context, r *progress.Reporter, dir, log string, tars []string) (err error) {
	// The path of a unix socket holds about 100 bytes, so this lives in the short temporary folder; the root is on the disk of dir.
	tmp, err := os.MkdirTemp("", "ceo-lab-store-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	conf := strings.Replace(fmt.Sprintf(storeConfig, tmp), tmp+"/root", dir, 1)
	if err := os.WriteFile(filepath.Join(tmp, "config.toml"), []byte(conf), 0o600); err != nil {
		return err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the lab's own log
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	d := exec.CommandContext(ctx, "containerd", "-c", filepath.Join(tmp, "config.toml")) //nolint:gosec // fixed command
	d.Stdout, d.Stderr = out, out
	// A mount namespace of its own: whatever it mounts while unpacking goes with it.
	d.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := d.Start(); err != nil {
		return fmt.Errorf("start containerd to prepare images: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.Wait() // it is ended by a signal, which is an error to Wait
	}()
	defer func() {
		_ = d.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = d.Process.Kill()
			<-ended
		}
	}()
	sock := filepath.Join(tmp, "c.sock")
	err = r.Wait(ctx, "containerd to prepare images", 30*time.Second, func(ctx context.Context) (bool, string) {
		b, err := exec.CommandContext(ctx, "ctr", "-a", sock, "version").CombinedOutput() //nolint:gosec // fixed command
		return err == nil, strings.TrimSpace(string(b))
	})
	if err != nil {
		return fmt.Errorf("%w\n--- last lines of %s\n%s", err, log, progress.TailFile(log, 10))
	}
	for _, t := range tars {
		s := progress.Step{What: "import " + filepath.Base(t), Limit: 3 * time.Minute, Log: log}
		if err := r.Run(ctx, s, []string{"ctr", "-a", sock, "-n", "k8s.io", "image", "import", t}, nil); err != nil {
			return err
		}
	}
	return nil
}

// CloneStore gives a node its own containerd root from a prepared one. Blobs and unpacked layers never change once they are written, so
// they are linked where both folders are on one file system; databases are copied.
func CloneStore(from, to string) error {
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if err := os.MkdirAll(dst, 0o700); err != nil {
				return err
			}
			return os.Chmod(dst, info.Mode())
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, dst) //nolint:gosec // both trees are the lab's own, and nobody else writes there
		case !info.Mode().IsRegular():
			return nil // sockets of the containerd that prepared it
		case strings.HasSuffix(p, ".db"):
			return copyFile(p, dst, info.Mode())
		}
		if err := os.Link(p, dst); err == nil { //nolint:gosec // as above
			return nil
		}
		return copyFile(p, dst, info.Mode())
	})
	if err != nil {
		return fmt.Errorf("give the node its images: %w", err)
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from) //nolint:gosec // the lab's own files
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode.Perm()) //nolint:gosec // the lab's own files
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// CopyFile copies a file to a new place.
func CopyFile(from, to string) error { return copyFile(from, to, 0o600) }
