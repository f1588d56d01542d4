// Package measure runs a program and says what it took.
package measure

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Sample of one run.
type Sample struct {
	Seconds float64 `json:"seconds"` // from before it is started until it was waited for
	CPU     float64 `json:"cpu"`     // seconds of all its threads, in user and in system mode
	// Peak of the resident memory, in bytes, with the pages of mapped files: those the kernel can drop again.
	Peak int64 `json:"peak"`
	// Own is the peak of the memory that is the process's alone (RssAnon), bytes.
	Own int64 `json:"own"`
	// Written is what the process and its children dirtied of files, bytes: each page once until it is flushed
	// (write_bytes of /proc/PID/io, which the kernel hands out as ru_oublock).
	Written int64 `json:"written"`
}

// Command to run. Its standard output is returned, what it says on standard error is part of the error.
type Command struct {
	Path string
	Args []string
	Env  []string // added to this process's
	Dir  string
}

// sampleEvery is how often the memory is looked at. The last moments before the end can be missed.
const sampleEvery = 10 * time.Millisecond

// Run runs it to its end. With the context it is killed.
func Run(ctx context.Context, c Command) (Sample, []byte, error) {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // the caller's own
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Env, cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	// Were this process killed, the child would go on writing.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return Sample{}, nil, err
	}
	stop, watched := make(chan struct{}), make(chan Sample)
	go func() { watched <- Watch(cmd.Process.Pid, stop) }()
	err := cmd.Wait()
	took := time.Since(begun)
	close(stop)
	s := <-watched
	s.Seconds = took.Seconds()
	if err != nil {
		return s, out.Bytes(), fmt.Errorf("%s %s: %w: %s", c.Path, strings.Join(c.Args, " "), err, tail(complaint.String()))
	}
	// Not Maxrss: a child begins with its parent's there.
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.Written = u.Oublock * 512
	}
	s.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return s, out.Bytes(), nil
}

// Watch looks at the memory of a process until stop is closed.
func Watch(pid int, stop <-chan struct{}) Sample {
	var s Sample
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	path := fmt.Sprintf("/proc/%d/status", pid)
	for {
		// Gone, or not yet begun: then there is nothing to see.
		if data, err := os.ReadFile(path); err == nil { //nolint:gosec // of a process of ours
			s.Peak = max(s.Peak, field(data, "VmHWM:"))
			s.Own = max(s.Own, field(data, "RssAnon:"))
		}
		select {
		case <-stop:
			return s
		case <-tick.C:
		}
	}
}

// CPU is what a running process has used so far, in seconds.
func CPU(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program, in parentheses, may hold anything.
	_, rest, _ := strings.Cut(string(data[bytes.LastIndexByte(data, ')')+1:]), " ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, data)
	}
	var ticks int64
	for _, t := range f[11:13] { // utime and stime, in ticks of 10 ms on every machine that Linux runs on
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return float64(ticks) / 100, nil
}

// field of /proc/PID/status, in bytes.
func field(status []byte, name string) int64 {
	_, rest, ok := strings.Cut(string(status), "\n"+name)
	if !ok {
		return 0
	}
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0
	}
	return n * 1024
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
