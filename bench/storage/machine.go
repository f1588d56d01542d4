package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/bench/storage/measure"
)

// Machine that the figures are of.
type Machine struct {
	Cores      int    `json:"cores"`
	CPU        string `json:"cpu"`
	SHA        bool   `json:"sha"`    // the CPU has instructions for SHA-256
	Memory     int64  `json:"memory"` // bytes
	Kernel     string `json:"kernel"`
	FileSystem string `json:"fileSystem"`
	Etcd       string `json:"etcd"`
	Go         string `json:"go"` // that etcd was built with, and ceo
	Ceo        string `json:"ceo"`
}

var etcdVersion = regexp.MustCompile(`etcd Version: (\S+)`)

func describe(ctx context.Context, t tools, dir string) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: strings.TrimPrefix(runtime.Version(), "go")}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	if f := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(cpu); f != nil {
		m.CPU = string(f[1])
	}
	m.SHA = regexp.MustCompile(`(?m)^(flags|Features)\s*:.*\b(sha_ni|sha2)\b`).Match(cpu)
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return m, err
	}
	m.Memory = int64(si.Totalram) * int64(si.Unit) //nolint:gosec,unconvert // no machine has 2^63 bytes; 32 bits elsewhere
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, err
	}
	m.Kernel = unix.ByteSliceToString(u.Release[:])
	if m.FileSystem, err = fileSystem(dir); err != nil {
		return m, err
	}
	_, out, err := measure.Run(ctx, measure.Command{Path: t.etcd, Args: []string{"--version"}})
	if err != nil {
		return m, err
	}
	if f := etcdVersion.FindSubmatch(out); f != nil {
		m.Etcd = string(f[1])
	}
	_, out, err = measure.Run(ctx, measure.Command{Path: t.ceo, Args: []string{"version"}})
	if err == nil {
		m.Ceo, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	}
	return m, err
}

var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.F2FS_SUPER_MAGIC: "f2fs",
}

func fileSystem(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", err
	}
	if name, ok := fileSystems[st.Type]; ok { //nolint:unconvert // 32 bits elsewhere
		return name, nil
	}
	return fmt.Sprintf("file system %#x", st.Type), nil
}
