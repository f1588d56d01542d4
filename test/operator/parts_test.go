//go:build integration

package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/operator"
)

// What the cost of a part is measured of: processes of their own.
const (
	// programs is a folder with ceo and ceo-operator, as they are shipped. Without it this program plays their parts, with the
	// same code; that is how a profile is had.
	programs = "CEO_IDLE_BIN"
	// profiles is where those leave a profile of the time that was measured.
	profiles = "CEO_IDLE_PROFILE"
	// asPart makes this program play one.
	asPart = "CEO_TEST_PART"
)

// part is an agent or an operator as a process.
type part struct {
	Name string
	// Of an agent.
	Root, Own, CRI string
	// Of an operator.
	Kubeconfig, Certs, Health string
	Metrics                   string
	// Every is how often the operator looks; 0: as it is shipped. The shipped program takes no other.
	Every time.Duration

	cmd *exec.Cmd
	log string
}

// start runs it until the test ends.
func (p *part) start(t testing.TB) {
	t.Helper()
	p.log = filepath.Join(t.TempDir(), "log")
	if bin := os.Getenv(programs); bin != "" && p.Every == 0 {
		if p.Root != "" {
			p.cmd = exec.Command(filepath.Join(bin, "ceo"), "agent", "--root="+p.Root, "--own="+p.Own, "--cri-socket="+p.CRI, "--metrics-address="+p.Metrics)
		} else {
			p.cmd = exec.Command(filepath.Join(bin, "ceo-operator"), "--kubeconfig="+p.Kubeconfig, "--certs="+p.Certs, "--metrics-address="+p.Metrics, "--health-address="+p.Health)
		}
	} else {
		spec, err := json.Marshal(p)
		must(t, err)
		p.cmd = exec.Command(os.Args[0])
		p.cmd.Env = append(os.Environ(), asPart+"="+string(spec))
	}
	log, err := os.Create(p.log)
	must(t, err)
	defer func() { _ = log.Close() }()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is of the thread that forks.
	runtime.LockOSThread()
	must(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		runtime.UnlockOSThread()
		if raw, err := os.ReadFile(p.log); err == nil && t.Failed() {
			t.Logf("last of %s:\n%s", p.Name, raw[max(0, len(raw)-4000):])
		}
	})
}

// profile begins one, or ends it, where one is asked for.
func (p *part) profile(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if os.Getenv(profiles) != "" && os.Getenv(programs) == "" {
		must(t, p.cmd.Process.Signal(sig))
	}
}

// runPart plays it.
func runPart(spec string) error {
	var p part
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		return err
	}
	if dir := os.Getenv(profiles); dir != "" {
		go writeProfiles(filepath.Join(dir, p.Name))
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	debug.SetGCPercent(50) // as both programs do
	if p.Root == "" {
		return operator.Run(context.Background(), operator.Options{
			Kubeconfig: p.Kubeconfig, Certs: p.Certs, MetricsAddress: p.Metrics, HealthAddress: p.Health, Log: log, Every: p.Every,
		})
	}
	debug.SetMemoryLimit(40 << 20) // as cmd/ceo does
	a, err := agent.New(agent.Options{
		Paths: node.Paths{Root: p.Root}, Version: "test", CRISocket: p.CRI, Own: p.Own, MetricsAddress: p.Metrics, Log: log,
	})
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

// writeProfiles measures the processor from SIGUSR1 to SIGUSR2, and the memory then.
func writeProfiles(path string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	for s := range signals {
		if s == syscall.SIGUSR1 {
			f, err := os.Create(path + ".cpu")
			if err == nil {
				err = pprof.StartCPUProfile(f)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			continue
		}
		pprof.StopCPUProfile()
		f, err := os.Create(path + ".heap")
		if err == nil {
			runtime.GC()
			err = pprof.WriteHeapProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
