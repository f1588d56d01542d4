package guard

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is a running etcd. It cannot outlive the guard: the kernel kills it
// when the guard ends in any way.
type child struct {
	pid   int
	pidfd int
	// done is closed once the process is reaped: its locks on the data dir are
	// gone then.
	done   chan struct{}
	status syscall.WaitStatus
}

// startChild starts a program. One goroutine starts it and waits for it on a
// thread of its own: the death signal is sent when the *thread* that started
// the child ends, not when the process does.
func startChild(argv, env []string) (*child, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("find etcd: %w", err)
	}
	c := &child{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()                                       // for ever: the thread ends with the goroutine
		c.pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{ //nolint:gosec // the manifest's own command
			Env:   env,
			Files: []uintptr{0, 1, 2},
			Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, PidFD: &c.pidfd},
		})
		if err != nil {
			started <- fmt.Errorf("start %s: %w", path, err)
			return
		}
		started <- nil
		c.wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// wait reaps everything that ends, for the first process of a container
// inherits orphans, until it has reaped the child.
func (c *child) wait() {
	defer close(c.done)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			// No child is left, and its end was not seen: cannot happen while
			// nothing else in this process waits.
			c.status = 0xff00
			return
		case pid == c.pid && (status.Exited() || status.Signaled()):
			c.status = status
			return
		}
	}
}

// signal goes through the pidfd: a number could be another process' by now.
func (c *child) signal(s syscall.Signal) error {
	var err error
	if c.pidfd >= 0 {
		err = unix.PidfdSendSignal(c.pidfd, s, nil, 0)
	} else {
		err = syscall.Kill(c.pid, s)
	}
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to etcd (pid %d): %w", s, c.pid, err)
	}
	return nil
}

func (c *child) close() {
	if c.pidfd >= 0 {
		_ = syscall.Close(c.pidfd)
		c.pidfd = -1
	}
}

// exitCode as a shell gives it: 128 and the signal's number for a death by
// signal. Only valid once done is closed.
func (c *child) exitCode() int {
	if c.status.Signaled() {
		return 128 + int(c.status.Signal())
	}
	return c.status.ExitStatus()
}

// reapOrphans reaps what ended while no child runs.
func reapOrphans() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
