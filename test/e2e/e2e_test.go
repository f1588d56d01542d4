//go:build e2e

// Package e2e proves on real kubelets, kube-apiservers and etcds what ceo
// promises. The tests run in the order of the files' stories on one lab; each
// leaves a whole cluster behind.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

var lab *harness.Cluster

const (
	// Limits of waits, far above what was ever seen: tests fail on state.
	soon = 2 * time.Minute
	late = 5 * time.Minute
)

var nodes = []string{"cp-1", "cp-2", "cp-3"}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	begun := time.Now()
	log := func(format string, args ...any) {
		fmt.Printf("[%6.1fs] %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	c, remove, err := harness.New(log)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	lab = c
	ctx := context.Background()
	defer func() {
		if os.Getenv("CEO_E2E_KEEP") != "" {
			log("the lab is kept, as CEO_E2E_KEEP asks; end it with `bin/lab down`")
			return
		}
		if err := c.Down(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "lab down:", err)
		}
	}()
	// Each story but one begins with three; that one alone is quicker with CEO_E2E_NODES=1.
	first := 3
	if n, err := strconv.Atoi(os.Getenv("CEO_E2E_NODES")); err == nil {
		first = n
	}
	if err := c.Up(ctx, first); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// full: the long cases run as well (`make e2e-full`).
func full() bool { return os.Getenv("CEO_E2E_FULL") != "" }

func onlyInFull(t *testing.T, why string) {
	t.Helper()
	if !full() {
		t.Skipf("only with CEO_E2E_FULL=1: %s", why)
	}
}

func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// whole is what every story begins and ends with.
func whole(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, lab.Whole(ctx, 3, late))
}

// kubectl is for what may be asked twice: an API server whose etcd is restarted cuts connections off.
func kubectl(ctx context.Context, t *testing.T, args ...string) (res harness.Result) {
	t.Helper()
	must(t, harness.Until(ctx, "kubectl "+strings.Join(args[:min(3, len(args))], " "), soon, func(ctx context.Context) (err error) {
		res, err = lab.Kubectl(ctx, args...)
		return err
	}))
	return res
}

func writer(ctx context.Context, t *testing.T, run string, flags ...string) *harness.Load {
	t.Helper()
	l, err := lab.Write(ctx, run, flags...)
	must(t, err)
	t.Cleanup(func() { _ = l.Stop() })
	return l
}

// wrote runs a writer until it has n acknowledged writes.
func wrote(ctx context.Context, t *testing.T, run string, n int) []harness.Ack {
	t.Helper()
	l := writer(ctx, t, run, "--count", fmt.Sprint(n))
	must(t, l.UntilAcked(ctx, n, late))
	acks, err := l.Acks()
	must(t, err)
	return acks
}

// nothingLost waits until the writer gets through once more, ends it, and compares what it has acknowledged with what is
// there.
func nothingLost(ctx context.Context, t *testing.T, w *harness.Load) []harness.Ack {
	t.Helper()
	acks, err := w.Acks()
	must(t, err)
	must(t, w.UntilAcked(ctx, len(acks)+20, soon))
	must(t, w.Stop())
	acks, err = w.Acks()
	must(t, err)
	have, err := lab.Objects(ctx)
	must(t, err)
	if err := harness.Compare(acks, have, acks[len(acks)-1].ResourceVersion); err != nil {
		t.Fatalf("acknowledged writes were lost: %v", err)
	}
	return acks
}
