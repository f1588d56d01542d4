package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MinDisk is the smallest disk that XFS makes.
const MinDisk = 300 << 20

// MakeDisk makes the node's etcd disk anew: a sparse file with an empty XFS (reflink on, so that a copy of a data dir costs nothing).
func MakeDisk(ctx context.Context, s Spec, size int64) error {
	if err := os.Remove(s.EtcdImage()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace the etcd disk of %s: %w", s.Name, err)
	}
	f, err := os.OpenFile(s.EtcdImage(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		return fmt.Errorf("make the etcd disk of %s: %w", s.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mkfs.xfs", "-q", "-m", "reflink=1", s.EtcdImage()).CombinedOutput() //nolint:gosec // fixed command
	if err != nil {
		return fmt.Errorf("make the etcd disk of %s: mkfs.xfs: %w: %s", s.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// mountImage mounts the XFS image through a loop device that goes away with its last mount, hence with the node: a node that loses power
// leaves nothing to clean.
func mountImage(image, target string) error {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("loop devices: %w", err)
	}
	defer func() { _ = ctl.Close() }()
	back, err := os.OpenFile(image, os.O_RDWR, 0) //nolint:gosec // the lab's own
	if err != nil {
		return fmt.Errorf("the etcd disk: %w", err)
	}
	defer func() { _ = back.Close() }()
	for range 50 { // two nodes that boot at once may be offered the same free device
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE) //nolint:gosec // a file descriptor fits
		if err != nil {
			return fmt.Errorf("find a free loop device: %w", err)
		}
		dev := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(dev, os.O_RDWR, 0) //nolint:gosec // offered by the kernel
		if err != nil {
			return fmt.Errorf("the etcd disk: %w", err)
		}
		conf := unix.LoopConfig{Fd: uint32(back.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}} //nolint:gosec // a file descriptor fits
		copy(conf.Info.File_name[:len(conf.Info.File_name)-1], image)
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &conf) //nolint:gosec // as above
		if errors.Is(err, unix.EBUSY) {
			_ = loop.Close()
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if err == nil {
			err = unix.Mount(dev, target, "xfs", unix.MS_NOSUID|unix.MS_NODEV, "")
		}
		_ = loop.Close() // the mount holds it from here on; without one, this clears it
		if err != nil {
			return fmt.Errorf("mount %s with %s on %s: %w", dev, image, target, err)
		}
		return os.Chmod(target, 0o700) //nolint:gosec // a directory
	}
	return errors.New("no loop device could be had in 50 attempts")
}

// Loops lists the loop devices whose file lies below dir.
func Loops(dir string) []string {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f) //nolint:gosec // from /sys
		if err != nil {
			continue
		}
		// The kernel adds " (deleted)" when the file has been removed.
		path := strings.TrimSuffix(strings.TrimSpace(string(b)), " (deleted)")
		if path == dir || strings.HasPrefix(path, dir+"/") {
			out = append(out, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(f))))
		}
	}
	return out
}
