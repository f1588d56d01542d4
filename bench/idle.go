package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// process is what one idle process of ceo costs.
type process struct {
	name   string
	rssKiB int
	cores  float64 // share of one core
}

// idle looks at agent and guard on a node for a while in which nobody asks them
// for anything.
func idle(ctx context.Context, c *harness.Cluster, node string, over time.Duration) ([]process, error) {
	var out []process
	for _, p := range []struct{ name, pattern string }{{"agent", "^/usr/local/bin/ceo agent"}, {"guard", "^/opt/ceo/ceo guard"}} {
		// utime and stime, in ticks of 10 ms; then VmRSS.
		look := fmt.Sprintf("p=$(pgrep -of '%s'); cut -d' ' -f14,15 /proc/$p/stat; sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$p/status", p.pattern)
		first, _, err := sampleOf(ctx, c, node, look)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(over):
		}
		last, rss, err := sampleOf(ctx, c, node, look)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		out = append(out, process{p.name, rss, float64(last-first) / 100 / over.Seconds()})
	}
	return out, nil
}

func sampleOf(ctx context.Context, c *harness.Cluster, node, look string) (ticks, rssKiB int, err error) {
	res, err := c.On(ctx, node, "sh", "-ec", look)
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(res.Out)
	if len(f) != 3 {
		return 0, 0, fmt.Errorf("unexpected: %q", res.Out)
	}
	var n [3]int
	for i := range f {
		if n[i], err = strconv.Atoi(f[i]); err != nil {
			return 0, 0, err
		}
	}
	return n[0] + n[1], n[2], nil
}
