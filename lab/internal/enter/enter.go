// Package enter runs commands inside of a node's namespaces.
//
// `ip netns exec` would replace /sys and hide the cgroups, and nsenter leaves its child behind when it is killed; both lead to processes
// that nobody owns.
package enter

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/proc"
)

// Env is what a command in a node gets as its environment.
func Env() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "KUBECONFIG=/etc/kubernetes/admin.conf",
	}
	if t := os.Getenv("TERM"); t != "" {
		env = append(env, "TERM="+t)
	}
	return env
}

// Node runs argv inside of the node whose first process is p, and returns its exit code. The command dies with the calling process. The calling
// process moves into the node's cgroup for good: use a process of its own for each call.
func Node(p *proc.Process, cg string, argv []string) (int, error) {
	runtime.LockOSThread() // never unlocked: the thread's namespaces are changed
	if err := cgroup.Visit(cg); err != nil {
		return 0, err
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return 0, fmt.Errorf("the node's first process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.Alive() {
		return 0, fmt.Errorf("the node's first process %d has ended", p.PID)
	}
	// A thread that shares its root and working directory with others may not change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return 0, fmt.Errorf("separate this thread's root directory: %w", err)
	}
	const all = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	if err := unix.Setns(fd, all); err != nil {
		return 0, fmt.Errorf("enter the namespaces of process %d: %w", p.PID, err)
	}
	// setpriv, and not SysProcAttr.Pdeathsig: Go takes the parent for dead when it is in another pid namespace, and kills the child at once.
	argv = append([]string{"/usr/bin/setpriv", "--pdeathsig", "KILL", "--"}, argv...)
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec // running what was asked for is the point
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env, cmd.Dir = Env(), "/"
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start a command in the node: %w", err)
	}
	go func() {
		for s := range signals {
			// A terminal delivers these two to the child itself; twice would be once too often.
			if s != syscall.SIGINT && s != syscall.SIGQUIT {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	case err != nil:
		return 0, fmt.Errorf("run a command in the node: %w", err)
	}
	return 0, nil
}

// Network replaces the calling process by argv, in the network namespace of p and with everything else as it is.
func Network(p *proc.Process, argv, env []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("run %s beside the nodes: %w", argv[0], err)
	}
	runtime.LockOSThread()
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("the lab's switch, process %d: %w", p.PID, err)
	}
	if !p.Alive() {
		return fmt.Errorf("the lab's switch, process %d, has ended", p.PID)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the lab's network: %w", err)
	}
	_ = unix.Close(fd)
	if err := syscall.Exec(path, argv, env); err != nil { //nolint:gosec // running what was asked for is the point
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}
