package guard

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// run starts etcd as decided and stays until it ends. It reports the exit code
// and whether the guard ends with it; without that, etcd was stopped by a hold
// or never started, and a new decision is due.
func (g *Guard) run(d Decision, signals <-chan os.Signal) (code int, ended bool) {
	if d.Answer == Bootstrap {
		if err := usePermission(g.o.Paths); err != nil {
			g.o.Log.Error("no bootstrap: its permission could not be used up", "error", err.Error())
			return 0, g.pause(0, signals)
		}
	}
	argv := g.flags.With(d)
	c, err := startChild(argv, Environ(os.Environ()))
	if err != nil {
		g.o.Log.Error("etcd could not be started", "error", err.Error())
		return 127, true
	}
	defer c.close()
	g.o.Log.Info("started etcd", "pid", c.pid, "answer", d.Answer, "args", argv)
	// Beside the start, never before it; it ends by itself once the file is
	// copied.
	go func() {
		if err := keepBinary(g.o.Paths, argv[0]); err != nil {
			g.o.Log.Warn("backups can be proven with another etcd only", "error", err.Error())
		}
	}()
	g.mu.Lock()
	g.answered = false
	g.mu.Unlock()
	g.update(func(s *Status) { s.State, s.ChildPID, s.EtcdArgs = Running, c.pid, argv })

	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	terminating := false
	for {
		select {
		case <-c.done:
			if !terminating && readHold(g.o.Paths) != nil {
				return 0, false
			}
			code := c.exitCode()
			g.o.Log.Info("etcd has ended", "code", code)
			g.update(func(s *Status) { s.State, s.ChildPID, s.ExitCode = Exited, 0, code })
			return code, true
		case s := <-signals:
			sig, ok := s.(syscall.Signal)
			if !ok {
				continue
			}
			terminating = terminating || sig == syscall.SIGTERM || sig == syscall.SIGINT
			if err := c.signal(sig); err != nil {
				g.o.Log.Warn("signal not forwarded", "error", err.Error())
			}
			continue
		case <-tick.C:
		case <-g.poke:
		}
		if h := readHold(g.o.Paths); h != nil && !terminating {
			g.stop(c, *h)
			return 0, false
		}
	}
}

// stop ends etcd for a hold and returns once it is reaped: only then are the
// locks on its data dir gone (P10).
func (g *Guard) stop(c *child, h node.Hold) {
	began := time.Now()
	g.o.Log.Info("stops etcd for a hold", "hold", h.ID, "reason", h.Reason, "fast", h.Fast)
	g.update(func(s *Status) { s.State, s.HoldID = Stopping, h.ID })
	grace := graceForHold
	if h.Fast {
		grace = graceForFastHold
	}
	sig := syscall.SIGTERM
	for {
		if err := c.signal(sig); err != nil {
			g.o.Log.Warn("etcd does not take the signal", "error", err.Error())
		}
		select {
		case <-c.done:
			g.o.Log.Info("etcd is stopped", "hold", h.ID, "took", time.Since(began).String())
			return
		case <-time.After(grace):
			// A process in an uninterruptible read of a dead disk does not end
			// even now; whoever waits for the hold sees "stopping".
			sig, grace = syscall.SIGKILL, 5*time.Second
		}
	}
}

// usePermission takes the permission for one bootstrap away, before it is used:
// a crash in between costs a permission, the other order a second cluster (P25).
func usePermission(p node.Paths) error {
	i := readIntent(p)
	if !i.BootstrapOnce {
		return fmt.Errorf("%s no longer permits a bootstrap", p.Intent())
	}
	i.BootstrapOnce = false
	return durable.WriteJSON(p.Intent(), i, 0o600)
}
