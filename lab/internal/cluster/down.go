package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/progress"
	"clusteretcd.io/ceo/lab/internal/state"
)

// files are what a lab has in its folder. Down removes these and nothing else.
var files = []string{"nodes", "images", "logs", "admin.conf", "join.credentials", "state.json"}

// found says what there is of this lab on the machine, with or without a readable state.
func (l *Lab) found() []string {
	var out []string
	if l.S != nil {
		out = append(out, fmt.Sprintf("state %q of %d nodes, %d running", l.S.Phase, len(l.S.Nodes), len(l.S.Running())))
	}
	if pids := cgroup.PIDs(l.Dir.Cgroup()); len(pids) > 0 {
		out = append(out, fmt.Sprintf("%d processes", len(pids)))
	}
	if n := cgroup.Exists(l.Dir.Cgroup()); n > 0 {
		out = append(out, fmt.Sprintf("cgroup %s in %d hierarchies", l.Dir.Cgroup(), n))
	}
	if loops := node.Loops(l.Dir.Path("nodes")); len(loops) > 0 {
		out = append(out, "loop devices "+strings.Join(loops, " "))
	}
	for _, f := range files {
		if _, err := os.Lstat(l.Dir.Path(f)); err == nil && f != "state.json" {
			out = append(out, l.Dir.Path(f))
		}
	}
	return out
}

// Down removes everything that up made. It goes by what is there and not only by the state, so that it also works after a crash.
func (l *Lab) Down(ctx context.Context) error {
	var errs []error
	if l.S != nil {
		errs = append(errs, l.update(func() { l.S.Phase = state.Stopping }))
		for _, n := range l.S.Nodes {
			errs = append(errs, n.Init.Kill())
		}
		errs = append(errs, l.S.Switch.Kill())
	}
	// Every process of the lab is in its cgroup or below; mounts, loop devices, interfaces and namespaces end with the processes.
	errs = append(errs, cgroup.Destroy(l.Dir.Cgroup(), 60*time.Second))
	errs = append(errs, l.R.Wait(ctx, "the nodes' disks to be released", 30*time.Second, func(context.Context) (bool, string) {
		loops := node.Loops(l.Dir.Path("nodes"))
		return len(loops) == 0, strings.Join(loops, " ") + " still in use"
	}))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("down: %w", err) // the files stay: they say what else there is
	}
	l.restoreLimits()
	for _, f := range files { // state.json last: until then a second down knows what to do
		if err := os.RemoveAll(l.Dir.Path(f)); err != nil {
			return fmt.Errorf("down: %w", err)
		}
	}
	l.S = nil
	return nil
}

func tailLog(path string, n int) string { return progress.TailFile(path, n) }
