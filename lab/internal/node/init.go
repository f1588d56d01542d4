package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/state"
)

const systemd = "/lib/systemd/systemd"

// Init is what the node's first process does: it makes the node around itself and becomes systemd. It returns only on failure.
func Init(specFile string) error {
	// The cgroup namespace belongs to a thread until systemd takes over, so everything happens on this one.
	runtime.LockOSThread()
	s, err := readSpec(specFile)
	if err != nil {
		return err
	}
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	if err := cgroup.Enter(s.Cgroup); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("own cgroup namespace: %w", err)
	}
	ctx := context.Background()
	if err := network.SetUpNode(ctx, s.Index, state.MaxNodes, s.Address); err != nil {
		return err
	}
	if s.CutOff {
		if err := network.CutOff(ctx, s.Friends); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := makeRoot(s, hierarchies); err != nil {
		return fmt.Errorf("make the root file system of %s: %w", s.Name, err)
	}
	env := []string{"container=ceo-lab", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	err = syscall.Exec(systemd, []string{systemd, "--unit=" + Target}, env)
	return fmt.Errorf("become systemd: %w", err)
}

// mount is one mount of the node, relative to its new root.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// makeRoot builds the node's root file system and moves into it. /usr and /etc are overlays over the machine's own; an overlay over the whole of
// its root is not possible, as the kernel refuses layers that lie inside of each other.
func makeRoot(s Spec, hierarchies []cgroup.Hierarchy) error {
	// Nothing that is mounted here may show on the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := s.path("rootfs")
	if err := os.MkdirAll(root, 0o755); err != nil { //nolint:gosec // a root directory is readable
		return err
	}
	const quiet = unix.MS_NOSUID | unix.MS_NODEV
	const strict = quiet | unix.MS_NOEXEC
	mounts := []mount{
		{"tmpfs", "/", "tmpfs", 0, "mode=755"},
		{"overlay", "/usr", "overlay", 0, overlay("/usr", s.path("usr"), s.path("usr-work"))},
		{"overlay", "/etc", "overlay", 0, overlay("/etc", s.path("etc"), s.path("etc-work"))},
		{s.path("var"), "/var", "", unix.MS_BIND, ""},
		{s.path("opt"), "/opt", "", unix.MS_BIND, ""},
		{s.path("root"), "/root", "", unix.MS_BIND, ""},
		{s.KubernetesBin, kubernetesIn, "", unix.MS_BIND, ""},
		{s.EtcdBin, etcdIn, "", unix.MS_BIND, ""},
		{"proc", "/proc", "proc", strict, ""},
		{"sysfs", "/sys", "sysfs", strict, ""},
		{"tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755"},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"},
		{"tmpfs", "/dev/shm", "tmpfs", quiet, "mode=1777"},
		{"mqueue", "/dev/mqueue", "mqueue", strict, ""},
		{"tmpfs", "/run", "tmpfs", quiet, "mode=755"},
		{"tmpfs", "/tmp", "tmpfs", quiet, "mode=1777"},
	}
	if !cgroup.Unified(hierarchies) {
		mounts = append(mounts, mount{"tmpfs", cgroup.Root, "tmpfs", strict, "mode=755"})
	}
	for _, h := range hierarchies {
		mounts = append(mounts, mount{h.Type, h.Path, h.Type, strict, h.Options})
	}
	for _, m := range mounts {
		target := filepath.Join(root, m.target)
		if err := os.MkdirAll(target, 0o755); err != nil { //nolint:gosec // mount points
			return err
		}
		if err := unix.Mount(m.source, target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s (%s): %w", m.source, m.target, m.data, err)
		}
		if m.target == kubernetesIn || m.target == etcdIn { // the cache belongs to every lab: read-only
			if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				return fmt.Errorf("make %s read-only: %w", m.target, err)
			}
		}
	}
	if err := mountImage(s.EtcdImage(), filepath.Join(root, "var/lib/etcd")); err != nil {
		return err
	}
	if err := topLevelLinks(root); err != nil {
		return err
	}
	if err := devices(root); err != nil {
		return err
	}
	return changeRoot(root)
}

func overlay(lower, upper, work string) string {
	return fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
}

// topLevelLinks gives the node /bin, /sbin and /lib as the machine has them, and its empty folders.
func topLevelLinks(root string) error {
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		to, err := os.Readlink("/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("/%s is no link into /usr (the lab needs a merged /usr): %w", name, err)
		}
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"mnt", "media", "home", "srv", "boot"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil { //nolint:gosec // as on every machine
			return err
		}
	}
	return nil
}

// devices makes the few devices that a node may see; the kubelet reads /dev/kmsg for out-of-memory kills.
func devices(root string) error {
	old := unix.Umask(0)
	defer unix.Umask(old)
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"kmsg", 1, 11}, {"tty", 5, 0}, {"fuse", 10, 229},
	} {
		dev := int(unix.Mkdev(d.major, d.minor)) //nolint:gosec // small numbers
		if err := unix.Mknod(filepath.Join(root, "dev", d.name), unix.S_IFCHR|0o666, dev); err != nil {
			return fmt.Errorf("make device %s: %w", d.name, err)
		}
	}
	for name, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, filepath.Join(root, "dev", name)); err != nil {
			return err
		}
	}
	return nil
}

func changeRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	// The old root lies on top of the new one now.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the machine's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// Shared, so that what the kubelet mounts for a pod propagates as it would on a machine of its own.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}
