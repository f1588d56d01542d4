//go:build integration

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What TestMain makes for all tests.
var (
	scratch string // removed at the end
	ceo     string // a binary with the tag failpoints
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// inNamespace says that this process has mounts of its own.
const inNamespace = "CEO_CRASH_NAMESPACE"

// run runs the tests in a mount namespace of their own: were they killed, no cleanup would run, and with the namespace
// its mounts go, and with those the loop devices behind them.
func run(m *testing.M) int {
	if os.Geteuid() == 0 && os.Getenv(inNamespace) == "" {
		return runAgain()
	}
	var err error
	if scratch, err = os.MkdirTemp("", "ceo-crash-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	ceo = filepath.Join(scratch, "ceo")
	build := exec.Command("go", "build", "-tags", "failpoints", "-o", ceo, "clusteretcd.io/ceo/cmd/ceo") //nolint:gosec // fixed
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build -tags failpoints: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func runAgain() int {
	// Pdeathsig is of the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0], os.Args[1:]...) //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "the tests in a mount namespace of their own:", err)
	return 1
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts file systems")
	}
}

// runLimit bounds each run of ceo; it takes a fraction of a second.
const runLimit = time.Minute

// ended is how a run of ceo ended.
type ended struct {
	code           int // -1: by a signal
	killed         bool
	stdout, stderr string
}

func (e ended) String() string {
	if e.killed {
		return "killed"
	}
	return fmt.Sprintf("exit code %d: %s", e.code, strings.TrimSpace(e.stderr))
}

// runCeo runs it with more environment and tells how it ended.
func runCeo(t testing.TB, env []string, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, ceo, args...) //nolint:gosec // built by TestMain
	return runCommand(ctx, t, cmd, env, nil)
}

// killAfter kills ceo that long after its start, if it still runs then.
func killAfter(t testing.TB, after time.Duration, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, ceo, args...) //nolint:gosec // built by TestMain
	return runCommand(ctx, t, cmd, nil, func(p *os.Process) {
		time.AfterFunc(after, func() { _ = p.Kill() }) // it may have ended
	})
}

// runCommand runs it; meanwhile, if given, is called once it has been started.
func runCommand(ctx context.Context, t testing.TB, cmd *exec.Cmd, env []string, meanwhile func(*os.Process)) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile(cmd.Process)
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end within %s; stderr: %s", cmd, runLimit, stderr.String())
	}
	e := ended{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		ws, ok := exit.Sys().(syscall.WaitStatus)
		e.killed = ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
	} else if err != nil {
		t.Fatal(err)
	}
	return e
}

// learn runs ceo to its end and gives the points that it passed.
func learn(t testing.TB, s subject) []point {
	t.Helper()
	log := filepath.Join(t.TempDir(), "points")
	if e := s.run(t, "CEO_POINTS_LOG="+log); e.code != 0 {
		t.Fatalf("%v: %s", s.args(), e)
	}
	points, err := readPoints(log)
	if err != nil {
		t.Fatal(err)
	}
	return points
}
