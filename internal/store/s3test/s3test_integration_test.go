//go:build integration

package s3test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a test starts does not outlive it, not even when the test is killed.
func TestEndsWithItsParent(t *testing.T) {
	const variable = "S3TEST_PARENT"
	if os.Getenv(variable) != "" {
		s := Start(t, Options{})
		fmt.Printf("pid %d\n", s.cmd.Process.Pid)
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		_ = self.Kill()
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEndsWithItsParent$")
	cmd.Env = append(os.Environ(), variable+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.Output()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%v: %s", err, out)
	}
	var pid int
	if _, err := fmt.Sscanf(string(out[strings.Index(string(out), "pid "):]), "pid %d", &pid); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), WaitFor)
	defer cancel()
	for alive(pid) {
		select {
		case <-ctx.Done():
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("the server (pid %d) outlived its test", pid)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// alive: a zombie that nobody has waited for is dead.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestTwoAtOnce(t *testing.T) {
	a, b := Start(t, Options{}), Start(t, Options{TLS: true})
	if a.Endpoint == b.Endpoint || a.Credentials == b.Credentials {
		t.Fatalf("%s and %s are one", a.Endpoint, b.Endpoint)
	}
	for _, s := range []*Server{a, b} {
		if left, err := s.Unfinished(t.Context(), bucketName(t, s)); err != nil || len(left) != 0 {
			t.Fatalf("%v, %v", left, err)
		}
	}
}

func bucketName(t *testing.T, s *Server) string {
	t.Helper()
	name, _, _ := strings.Cut(strings.TrimPrefix(s.Config(t).URL, "s3://"), "?")
	return name
}
