//go:build integration

// Package operator_test runs the operator against a real kube-apiserver and real etcd. Where a test needs one node, the
// node's agent is the real one; where it needs several, their agents are doubles that speak the real protocol over the
// real mTLS, describe a real etcd each, and make backups with the real code. An agent has fixed ports, so several real
// ones do not fit on one machine without the lab.
package operator_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside names the test that this process runs, in a network of its own.
const inside = "CEO_TEST_OWN_NETWORK"

// The tests run beside each other, since mostly they wait: for elections, time-outs, the next minute. Each has a
// kube-apiserver and up to five etcds, which is a GB and, while they start, a core.
var (
	// atOnce are the places of the tests that are not long.
	atOnce = make(chan struct{}, 2)
	// long ones wait for minutes: they begin at once, and need no place.
	long = []string{"TestMembers", "TestSchedule", "TestRollouts"}
)

func TestMain(m *testing.M) {
	flag.Parse()
	if of := os.Getenv(agentOf); of != "" {
		fmt.Fprintln(os.Stderr, runAgentProcess(of))
		os.Exit(1)
	}
	if os.Getenv(inside) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "bring the loopback interface up:", err)
			os.Exit(1)
		}
	} else if err := flag.Set("test.parallel", "32"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// alone runs the calling test in a process with a network of its own, beside the others: agents and the etcd beside them
// have fixed ports, which another test or something else on this machine may use. False in the process that only waits
// for that one; the test returns then.
func alone(t testing.TB) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		return true
	}
	test, isTest := t.(*testing.T)
	if isTest {
		test.Parallel()
	}
	if !slices.Contains(long, t.Name()) {
		atOnce <- struct{}{}
		defer func() { <-atOnce }()
	}
	args := []string{"-test.run=^$", "-test.benchtime=1x", "-test.bench=^" + t.Name() + "$"}
	if isTest {
		args = argsOf(test)
	}
	c := exec.Command(os.Args[0], args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.Env = append(os.Environ(), inside+"="+t.Name())
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	// Pdeathsig is of the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.Run(); err != nil {
		t.Errorf("in a network of its own: %v\n%s", err, out.String())
	} else if !isTest || testing.Verbose() {
		t.Log(out.String())
	}
	return false
}

// argsOf make another process run the test as this one was told to.
func argsOf(t *testing.T) []string {
	t.Helper()
	run := "^" + t.Name() + "$"
	if _, sub, ok := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); ok {
		run += "/" + sub
	}
	args := []string{"-test.run=" + run}
	// One that hangs ends with its stacks before this process does.
	if end, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+(time.Until(end)*9/10).String())
	}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	return args
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return err
	}
	// The nodes' addresses: an EndpointSlice takes none of 127.0.0.0/8.
	for i := range 7 {
		a, err := unix.NewIfreq(fmt.Sprintf("lo:%d", i+1))
		if err != nil {
			return err
		}
		if err := a.SetInet4Addr([]byte{10, 99, 0, byte(11 + i)}); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, a); err != nil {
			return err
		}
	}
	return nil
}
