package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RecordHistory starts several clients straight on the client ports of these nodes' members; Load.History has what they
// were told. Each run's keys and file have its name.
func (c *Cluster) RecordHistory(ctx context.Context, run string, nodes ...string) (*Load, error) {
	if err := c.copyFiles(ctx, nodes[0], c.recorderCerts(run)); err != nil {
		return nil, err
	}
	return c.record(ctx, run, nodes)
}

// recorderCerts are the certificates of a recorder: where a node has them, and where they go.
func (c *Cluster) recorderCerts(run string) map[string]string {
	dir := c.recorderDir(run)
	return map[string]string{
		"/etc/kubernetes/pki/etcd/ca.crt":                 filepath.Join(dir, "ca.crt"),
		"/etc/kubernetes/pki/etcd/healthcheck-client.crt": filepath.Join(dir, "client.crt"),
		"/etc/kubernetes/pki/etcd/healthcheck-client.key": filepath.Join(dir, "client.key"),
	}
}

func (c *Cluster) recorderDir(run string) string { return filepath.Join(c.Scratch, "history-"+run) }

func (c *Cluster) record(ctx context.Context, run string, nodes []string, flags ...string) (*Load, error) {
	dir := c.recorderDir(run)
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, "https://"+c.Address(n)+":2379")
	}
	file := filepath.Join(dir, "ops.jsonl")
	args := []string{c.bin("load"), "history", "--endpoints", strings.Join(endpoints, ","), "--certs", dir, "--out", file, "--run", run}
	return c.start(ctx, file, append(args, flags...)...)
}

// UntilRecorded waits until a recorder has n more operations that were answered than the history had then.
func (l *Load) UntilRecorded(ctx context.Context, n int, limit time.Duration) error {
	answered := func() (int, error) {
		ops, err := l.History(false)
		some := 0
		for _, o := range ops {
			if o.Outcome == Done || o.Outcome == Refused {
				some++
			}
		}
		return some, err
	}
	before, err := answered()
	if err != nil {
		return err
	}
	return Until(ctx, fmt.Sprintf("%d more operations", n), limit, func(context.Context) error {
		some, err := answered()
		if err == nil && some-before < n {
			err = fmt.Errorf("%d so far: %s", some-before, tail(l.err.String()))
		}
		return err
	})
}

// LongestPause is the longest time in which no write was acknowledged.
func LongestPause(ops []Op) time.Duration {
	var most, last int64
	for _, o := range ops { // in the order of their ends
		if o.Outcome == Done && o.Kind != Get && o.Kind != End {
			if last > 0 {
				most = max(most, o.Return-last)
			}
			last = o.Return
		}
	}
	return time.Duration(most)
}

// Signal sends a signal to a program of this machine that has an argument, and says how many have it: for what
// Cluster.StartOperator started, which is told by the folder of its certificates.
func (c *Cluster) Signal(ctx context.Context, signal, program, argument string) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range all {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // it ended
		}
		args := strings.Split(string(raw), "\x00")
		if filepath.Base(args[0]) != program {
			continue
		}
		for _, a := range args[1:] {
			if a != argument {
				continue
			}
			if _, err := run(ctx, "kill", "-"+signal, filepath.Base(filepath.Dir(f))); err != nil {
				return n, err
			}
			n++
			break
		}
	}
	return n, nil
}
