package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"clusteretcd.io/ceo/bench/storage/measure"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// tools are the programs that are measured.
type tools struct {
	etcd, etcdctl, etcdutl string
	ceo                    string
	self                   string // for the parts that have no program of their own
}

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
	t := tools{
		etcd: filepath.Join(dir, "etcd"), etcdctl: filepath.Join(dir, "etcdctl"), etcdutl: filepath.Join(dir, "etcdutl"), ceo: o.ceo,
	}
	for _, path := range []string{t.etcd, t.etcdctl, t.etcdutl} {
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

// ceoCan says whether the binary has a verb: its help names a flag of it.
func (t tools) ceoCan(ctx context.Context, flag string, verb ...string) bool {
	_, out, err := measure.Run(ctx, measure.Command{Path: t.ceo, Args: append(verb, "--help")})
	return err == nil && strings.Contains(string(out), flag)
}
