package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/bench/workplace"
)

// tools are the programs that are run.
type tools struct{ etcd, etcdutl, ceo, self string }

func findTools(ctx context.Context, o options, scratch string) (tools, error) {
	dir, err := workplace.EtcdDir(o.etcd, "etcd", "etcdutl")
	if err != nil {
		return tools{}, err
	}
	t := tools{etcd: filepath.Join(dir, "etcd"), etcdutl: filepath.Join(dir, "etcdutl")}
	if t.self, err = os.Executable(); err != nil {
		return t, err
	}
	t.ceo, err = workplace.Ceo(ctx, o.ceo, scratch)
	return t, err
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
