package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// tools are the programs that are run.
type tools struct{ etcd, etcdutl, ceo, self string }

func findTools(ctx context.Context, o options, scratch string) (tools, error) {
	dir := o.etcd
	if dir == "" {
		dir = os.Getenv("CEO_ETCD_BIN")
	}
	if dir == "" {
		cache := os.Getenv("CEO_LAB_CACHE")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return tools{}, fmt.Errorf("%w; give the folder of etcd's binaries with -etcd", err)
			}
			cache = filepath.Join(home, ".cache", "ceo-lab")
		}
		dir = filepath.Join(cache, "etcd-v"+etcdtest.Version, "bin")
	}
	t := tools{etcd: filepath.Join(dir, "etcd"), etcdutl: filepath.Join(dir, "etcdutl"), ceo: o.ceo}
	for _, path := range []string{t.etcd, t.etcdutl} {
		if _, err := os.Stat(path); err != nil {
			return t, fmt.Errorf("%w: run `make deps-etcd`, or give the folder of etcd's binaries with -etcd", err)
		}
	}
	var err error
	if t.self, err = os.Executable(); err != nil {
		return t, err
	}
	if t.ceo != "" {
		t.ceo, err = filepath.Abs(t.ceo)
		return t, err
	}
	t.ceo = filepath.Join(scratch, "ceo")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", t.ceo, "clusteretcd.io/ceo/cmd/ceo") //nolint:gosec // this project's own
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return t, fmt.Errorf("build ceo (run this in its source tree, or give a binary with -ceo): %w: %s", err, out)
	}
	return t, nil
}

// output of a program that ends by itself.
func output(ctx context.Context, path string, args ...string) ([]byte, error) {
	var out, words bytes.Buffer
	c := exec.CommandContext(ctx, path, args...) //nolint:gosec // the programs that are measured
	c.Stdout, c.Stderr = &out, &words
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(path), strings.Join(args, " "), err, words.String())
	}
	return out.Bytes(), nil
}

// lock keeps a second run out of the same folder: they would disturb each other's figures anyway.
func lock(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir) //nolint:gosec // given by the user
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor fits an int
		return nil, errors.Join(fmt.Errorf("another run works in %s: %w", dir, err), f.Close())
	}
	return f.Close, nil
}

// flush is sync of one file system: what the last way wrote must not be written while the next one is measured.
func flush(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // of this program
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil { //nolint:gosec // a descriptor fits an int
		return fmt.Errorf("flush the file system of %s: %w", dir, err)
	}
	return nil
}

// describe the machine that the figures are of, in one line.
func describe(ctx context.Context, t tools) string {
	words := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if f := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(cpu); f != nil {
			words = append(words, string(f[1]))
		}
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		words = append(words, fmt.Sprintf("%d GiB", int64(si.Totalram)*int64(si.Unit)>>30)) //nolint:gosec,unconvert // no machine has 2^63 bytes; 32 bits elsewhere
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		words = append(words, "Linux "+unix.ByteSliceToString(u.Release[:]))
	}
	if out, err := output(ctx, t.etcd, "--version"); err == nil {
		if f := regexp.MustCompile(`etcd Version: (\S+)`).FindSubmatch(out); f != nil {
			words = append(words, "etcd "+string(f[1]))
		}
	}
	if out, err := output(ctx, t.ceo, "version"); err == nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		words = append(words, line)
	}
	return strings.Join(words, ", ")
}
