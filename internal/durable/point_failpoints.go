//go:build failpoints

package durable

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
)

var points struct {
	sync.Mutex
	count int
}

// Point counts the calls in this process, writes "NUMBER NAME" to the file that CEO_POINTS_LOG names, and kills the
// process as `kill -9` does at the call whose number is CEO_KILL_AT. At CEO_STOP_AT it stops the process, for a test to
// change the world before it lets it go on. A run with neither tells a test the points.
// It holds its lock while the process dies, so that no other goroutine passes a later point first.
func Point(name string) {
	points.Lock()
	defer points.Unlock()
	points.count++
	if path := os.Getenv("CEO_POINTS_LOG"); path != "" {
		logPoint(path, fmt.Sprintf("%d %s\n", points.count, name))
	}
	if reached("CEO_KILL_AT") {
		die()
	}
	if reached("CEO_STOP_AT") {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}

// Denied is true for the operation that CEO_DENY names.
func Denied(operation string) bool { return os.Getenv("CEO_DENY") == operation }

func reached(variable string) bool {
	at, err := strconv.Atoi(os.Getenv(variable))
	return err == nil && at == points.count
}

func logPoint(path, line string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // the test names the file
	if err != nil {
		return
	}
	_, _ = f.WriteString(line)
	_ = f.Close()
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	// The first process of a container cannot be killed from inside it. This ends it as suddenly: nothing deferred
	// runs, nothing is flushed.
	os.Exit(137)
}
