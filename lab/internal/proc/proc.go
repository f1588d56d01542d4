// Package proc names processes in a way that survives the reuse of their ids.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is one process of this boot of the machine: an id alone may belong to somebody else tomorrow.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after the boot of the machine, field 22 of /proc/PID/stat
	Boot  string `json:"boot"`  // /proc/sys/kernel/random/boot_id
}

// Find returns the identity of a running process.
func Find(pid int) (Process, error) {
	start, state, err := stat(pid)
	if err != nil {
		return Process{}, err
	}
	if state == 'Z' || state == 'X' {
		return Process{}, fmt.Errorf("process %d has ended", pid)
	}
	return Process{PID: pid, Start: start, Boot: bootID()}, nil
}

// Alive says whether exactly this process still runs. A zombie does not.
func (p *Process) Alive() bool {
	if p == nil || p.PID <= 1 || p.Boot != bootID() {
		return false
	}
	start, state, err := stat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// Kill sends SIGKILL if the process is still the one that was recorded.
func (p *Process) Kill() error {
	if !p.Alive() {
		return nil
	}
	// The pidfd pins the process, so that nothing can take its id between the check and the signal.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil //nolint:nilerr // it ended by itself, which is what was asked for
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return nil
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

func stat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parseStat(b)
}

// parseStat reads the state and the start time. The command name (field 2) may hold spaces and brackets, so count from its last bracket.
func parseStat(b []byte) (start uint64, state byte, err error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("process status %q has no command name", b)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("process status has %d fields after the name, want at least 20", len(f))
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("process start time: %w", err)
	}
	return start, f[0][0], nil
}
