//go:build failpoints

package durable_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"clusteretcd.io/ceo/internal/durable"
)

// A process dies at the point it was told, by SIGKILL, and at no other (I21's tests stand on this).
func TestPointKillsAtItsNumber(t *testing.T) {
	const child = "CEO_POINT_CHILD"
	if dir := os.Getenv(child); dir != "" {
		if err := durable.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, row := range []struct {
		at     string
		points int // lines in the log
		killed bool
	}{{"", 7, false}, {"1", 1, true}, {"4", 4, true}, {"7", 7, true}, {"8", 7, false}} {
		dir := t.TempDir()
		log := filepath.Join(t.TempDir(), "points")
		cmd := exec.Command(os.Args[0], "-test.run=^TestPointKillsAtItsNumber$") //nolint:gosec // this test itself
		cmd.Env = append(os.Environ(), child+"="+dir, "CEO_POINTS_LOG="+log, "CEO_KILL_AT="+row.at)
		err := cmd.Run()
		var exit *exec.ExitError
		killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if killed != row.killed || (!killed && err != nil) {
			t.Fatalf("kill at %q: %v", row.at, err)
		}
		data, err := os.ReadFile(log) //nolint:gosec // in the test's directory
		if got := strings.Count(string(data), "\n"); err != nil || got != row.points {
			t.Fatalf("kill at %q: %d points, want %d, %v:\n%s", row.at, got, row.points, err, data)
		}
	}
}
