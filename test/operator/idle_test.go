//go:build integration

package operator_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// agentOf makes this program the agent of the node whose root and address it has, so that what the agent costs can be
// told from the rest.
const agentOf = "CEO_TEST_AGENT"

func runAgentProcess(of string) error {
	root, address, _ := strings.Cut(of, " ")
	debug.SetMemoryLimit(40 << 20) // as cmd/ceo does
	debug.SetGCPercent(50)
	a, err := newAgent(node.Paths{Root: root}, address)
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

// BenchmarkIdleAgent is what an agent costs that nobody asks for anything but its two peers: beside real etcds and a
// container runtime with a control-plane node's pods. `go test -tags integration -run '^$' -bench IdleAgent ./test/operator/`
func BenchmarkIdleAgent(b *testing.B) {
	if !alone(b) {
		return
	}
	w := newWorldWithoutAPI(b)
	var pids []int
	pool := agentclient.NewPool(w.operatorFiles())
	b.Cleanup(func() { _ = pool.Close() })
	for _, r := range w.newReal3(b) {
		r.runtime.Beside(12)
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), agentOf+"="+r.paths.Root+" "+r.address)
		c.Stderr = os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		must(b, c.Start())
		b.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		pids = append(pids, c.Process.Pid)
		a, err := pool.Agent(r.address)
		must(b, err)
		etcdtest.Eventually(b, r.name+" to be good", func() (bool, string) {
			s, err := a.Inspect(etcdtest.Context(b), &agentpb.InspectRequest{Quick: true})
			return err == nil && s.GetRevisions().GetLastGood() != "", fmt.Sprint(s.GetRevisions(), err)
		})
	}
	must(b, pool.Close())
	const over = time.Minute
	for b.Loop() {
		before, began := cpuOf(b, pids), time.Now()
		<-time.After(over)
		used := (cpuOf(b, pids) - before) / time.Duration(len(pids))
		b.ReportMetric(100*used.Seconds()/time.Since(began).Seconds(), "%core")
	}
}

// cpuOf is the time that processes have used so far, in user and system.
func cpuOf(t testing.TB, pids []int) (all time.Duration) {
	t.Helper()
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		must(t, err)
		_, rest, _ := strings.Cut(string(raw), ") ")
		f := strings.Fields(rest)
		for _, i := range []int{11, 12} { // utime and stime, in ticks of 10 ms
			n, err := strconv.Atoi(f[i])
			must(t, err)
			all += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return all
}
