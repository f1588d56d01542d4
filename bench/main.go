// Command bench measures how long a dead control plane takes to come back with
// ceo, and beside it, in the same run and on the same machine, with the
// documented manual procedure (etcdutl and moved manifests) as a script that
// never pauses to think.
//
// The disaster is the same for both: three nodes that are up, the data of all
// three damaged, one snapshot. Measured is from the command to the first write
// that the API acknowledges, and to three healthy voters.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"clusteretcd.io/ceo/test/harness"
)

const snapshotPath = "/var/lib/etcd-backup/snapshot.db"

var nodes = []string{"cp-1", "cp-2", "cp-3"}

// sample is one recovery.
type sample struct{ write, voters float64 }

func main() {
	rounds := flag.Int("rounds", 5, "recoveries of each kind")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, remove, err := harness.New(func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	if err == nil {
		defer remove()
		err = bench(ctx, c, *rounds)
		if derr := c.Down(context.WithoutCancel(ctx)); err == nil {
			err = derr
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, c *harness.Cluster, rounds int) error {
	if err := c.Up(ctx, 3); err != nil {
		return err
	}
	// kubeadm's plain manifests first, ceo's after: each as its users run it.
	byHand, err := run(ctx, c, "manual", rounds, manual)
	if err != nil {
		return err
	}
	if err := c.Install(ctx, "", 3); err != nil {
		return err
	}
	byCeo, err := run(ctx, c, "ceo", rounds, func(ctx context.Context, c *harness.Cluster) error {
		_, err := c.Recover(ctx, "cp-1", append(harness.Consent("rollback", "unreachable-quorum"), "--from", snapshotPath)...)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.Whole(ctx, 3, 5*time.Minute); err != nil {
		return err
	}
	ps, err := idle(ctx, c, "cp-2", 40*time.Second)
	if err != nil {
		return err
	}
	report(byHand, byCeo)
	for _, p := range ps {
		fmt.Printf("\nidle %s: %.0f MiB resident, %.2f%% of a core\n", p.name, float64(p.rssKiB)/1024, p.cores*100)
	}
	return nil
}

func run(ctx context.Context, c *harness.Cluster, kind string, rounds int, recover func(context.Context, *harness.Cluster) error) ([]sample, error) {
	var out []sample
	for i := range rounds {
		if err := c.Whole(ctx, 3, 5*time.Minute); err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%s-%d", kind, i)
		w, err := c.Write(ctx, name, "--count", "200", "--every", "0")
		if err != nil {
			return nil, err
		}
		if err := w.UntilAcked(ctx, 200, 2*time.Minute); err != nil {
			return nil, err
		}
		if _, err := c.On(ctx, "cp-1", "sh", "-ec", "mkdir -p /var/lib/etcd-backup; rm -f "+snapshotPath); err != nil {
			return nil, err
		}
		b, err := c.Save(ctx, "cp-1", snapshotPath)
		if err != nil {
			return nil, err
		}
		acks, err := w.Acks()
		if err != nil {
			return nil, err
		}
		if err := destroy(ctx, c); err != nil {
			return nil, err
		}
		s, err := measure(ctx, c, name, recover)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		have, err := c.Objects(ctx)
		if err != nil {
			return nil, err
		}
		if err := harness.Compare(acks, have, b.Revision); err != nil {
			return nil, fmt.Errorf("%s: a recovery that is fast and wrong: %w", name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: first write %.1f s, three voters %.1f s\n", name, s.write, s.voters)
		out = append(out, s)
	}
	return out, nil
}

// destroy damages the WAL of every member beyond reading and ends etcd. An empty
// disk would not do for a comparison: kubeadm's plain manifest makes a new, empty
// cluster of it by itself (P25), or an amnesiac voter (P2).
func destroy(ctx context.Context, c *harness.Cluster) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		g.Go(func() error {
			_, err := c.On(gctx, n, "sh", "-ec", "for f in /var/lib/etcd/member/wal/*.wal; do dd if=/dev/urandom of=$f bs=4096 count=4 conv=notrunc status=none; done; pkill -KILL -x etcd")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return harness.Until(ctx, "the API to be dead", time.Minute, func(ctx context.Context) error {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if _, err := c.Kubectl(short, "-n", harness.Namespace, "get", "configmap", "none", "--request-timeout=2s", "--ignore-not-found"); err == nil {
			return fmt.Errorf("it still answers")
		}
		return nil
	})
}

func measure(ctx context.Context, c *harness.Cluster, name string, recover func(context.Context, *harness.Cluster) error) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	first, err := c.Write(ctx, name+"-first", "--count", "1", "--every", "0", "--timeout", "1s")
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = first.Stop() }()
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- recover(ctx, c) }()
	verr := harness.Until(ctx, "three healthy voters", 10*time.Minute, func(ctx context.Context) error { return voters(ctx, c) })
	s := sample{voters: time.Since(begun).Seconds()}
	if err := <-done; err != nil {
		return s, err
	}
	if verr != nil {
		return s, verr
	}
	if err := first.UntilAcked(ctx, 1, 5*time.Minute); err != nil {
		return s, err
	}
	acks, err := first.Acks()
	if err != nil {
		return s, err
	}
	s.write = acks[0].At.Sub(begun).Seconds()
	return s, nil
}

// voters asks each member with etcd's own tool.
func voters(ctx context.Context, c *harness.Cluster) error {
	ms, _, err := c.Members(ctx, "cp-1")
	if err != nil {
		return err
	}
	if len(ms) != len(nodes) {
		return fmt.Errorf("%d members", len(ms))
	}
	for _, m := range ms {
		if m.IsLearner || m.Name == "" {
			return fmt.Errorf("%q is no voter yet", m.Name)
		}
	}
	for _, n := range nodes {
		if _, err := c.Etcdctl(ctx, n, "endpoint", "health"); err != nil {
			return err
		}
	}
	return nil
}

func median(xs []float64) float64 {
	ys := slices.Clone(xs)
	slices.Sort(ys)
	if n := len(ys); n%2 == 0 && n > 0 {
		return (ys[n/2-1] + ys[n/2]) / 2
	} else if n > 0 {
		return ys[n/2]
	}
	return math.NaN()
}

func report(byHand, byCeo []sample) {
	pick := func(ss []sample, f func(sample) float64) []float64 {
		var out []float64
		for _, s := range ss {
			out = append(out, f(s))
		}
		return out
	}
	fmt.Printf("%d recoveries of each kind; seconds from the command, medians (lowest to highest)\n\n", len(byCeo))
	fmt.Println("| | manual procedure, scripted | ceo recover | ceo ÷ manual | goal |")
	fmt.Println("|---|---|---|---|---|")
	for _, row := range []struct {
		name, goal string
		f          func(sample) float64
	}{
		{"first write acknowledged", "≤ 8 s, ≤ 0.33", func(s sample) float64 { return s.write }},
		{"three voters, all healthy", "≤ 25 s, ≤ 0.33", func(s sample) float64 { return s.voters }},
	} {
		m, k := pick(byHand, row.f), pick(byCeo, row.f)
		fmt.Printf("| %s | %.1f (%.1f–%.1f) | %.1f (%.1f–%.1f) | %.2f | %s |\n", row.name,
			median(m), slices.Min(m), slices.Max(m), median(k), slices.Min(k), slices.Max(k), median(k)/median(m), row.goal)
	}
}
