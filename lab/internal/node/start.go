package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/lab/internal/proc"
	"clusteretcd.io/ceo/lab/internal/progress"
)

// Held is a first process that waits for permission: its id is written down before it does anything, so that no crash of the lab leaves a
// process behind that nobody knows of.
type Held struct {
	Process proc.Process
	gate    *os.File
}

// Hold starts argv in new namespaces with its output in a log. It must call AwaitGo first of all.
func Hold(log string, cloneflags uintptr, argv ...string) (*Held, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the lab's own binary: %w", err)
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // the lab's own log
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	rd, wr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = rd.Close() }()
	cmd := exec.Command(self, argv...) //nolint:gosec // itself
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.ExtraFiles = []*os.File{rd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneflags, Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %v: %w", argv, err), wr.Close())
	}
	// Collect it should it end while this command still runs.
	go func() { _ = cmd.Wait() }()
	p, err := proc.Find(cmd.Process.Pid)
	if err != nil {
		return nil, errors.Join(err, wr.Close())
	}
	return &Held{Process: p, gate: wr}, nil
}

// Go lets the process begin.
func (h *Held) Go() error {
	_, err := h.gate.WriteString("go")
	return errors.Join(err, h.gate.Close())
}

// Drop ends the process before it began.
func (h *Held) Drop() { _ = h.gate.Close() }

// AwaitGo waits for Go. It fails when the lab that started this process has ended.
func AwaitGo() error {
	unix.CloseOnExec(3)
	gate := os.NewFile(3, "gate")
	if gate == nil {
		return errors.New("this command is only for the lab itself")
	}
	defer func() { _ = gate.Close() }()
	b := make([]byte, 2)
	if n, err := gate.Read(b); err != nil || string(b[:n]) != "go" {
		return fmt.Errorf("the lab command that started this ended before it was ready: %w", err)
	}
	return nil
}

// Start makes the first process of the node in namespaces of its own and holds it.
func Start(s Spec) (*Held, error) {
	if err := s.write(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	const flags = syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET
	h, err := Hold(s.InitLog(), flags, "internal", "node-init", s.file())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	return h, nil
}

// AwaitContainerd waits until the node's containerd answers.
func AwaitContainerd(ctx context.Context, r *progress.Reporter, s Spec, p *proc.Process, inNode func(ctx context.Context, argv ...string) ([]byte, error)) error {
	err := r.Wait(ctx, "containerd on "+s.Name, time.Minute, func(ctx context.Context) (bool, string) {
		if !p.Alive() {
			return false, "the node's first process has ended"
		}
		if _, err := os.Stat(filepath.Join("/proc", fmt.Sprint(p.PID), "root/run/containerd/containerd.sock")); err != nil {
			return false, "no socket yet"
		}
		out, err := inNode(ctx, "systemctl", "is-active", "containerd.service")
		if err != nil {
			return false, progress.Tail(out, 1)
		}
		// containerd also runs when the part of it that the kubelet needs could not start.
		out, err = inNode(ctx, "ctr", "plugins", "ls")
		return err == nil && criServes(out), "its CRI plugin does not run"
	})
	if err != nil {
		return fmt.Errorf("%w\n--- %s\n%s\n--- containerd\n%s", err, s.InitLog(), progress.TailFile(s.InitLog(), 10), progress.TailFile(s.Var("log/containerd.log"), 10))
	}
	return nil
}

// criServes reads `ctr plugins ls`.
func criServes(plugins []byte) bool {
	for line := range strings.Lines(string(plugins)) {
		if f := strings.Fields(line); len(f) >= 3 && f[1] == "cri" && f[len(f)-1] == "ok" {
			return true
		}
	}
	return false
}
