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
	dir := filepath.Join(c.Scratch, "history-"+run)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for from, to := range map[string]string{"ca.crt": "ca.crt", "healthcheck-client.crt": "client.crt", "healthcheck-client.key": "client.key"} {
		res, err := c.On(ctx, nodes[0], "cat", "/etc/kubernetes/pki/etcd/"+from)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, to), []byte(res.Out), 0o600); err != nil {
			return nil, err
		}
	}
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, "https://"+c.Address(n)+":2379")
	}
	file := filepath.Join(dir, "ops.jsonl")
	return c.start(ctx, file, c.bin("load"), "history", "--endpoints", strings.Join(endpoints, ","), "--certs", dir, "--out", file, "--run", run)
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
