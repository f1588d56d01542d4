//go:build integration

package operator_test

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestIdleWritesNothing: five real etcds and real agents, each a process; while nothing changes, the operator writes nothing
// but its Lease, however often it looks.
func TestIdleWritesNothing(t *testing.T) {
	if !alone(t) {
		return
	}
	s := newStill(t, 5, 500*time.Millisecond)
	// On a busy machine an agent answers too late now and then, and that is written. What is written at each look, or each
	// minute, leaves no window clean.
	var all []request
	var wrote []string
	for range 4 {
		from, looks := time.Now(), s.looks(t)
		etcdtest.Eventually(t, "forty more looks", func() (bool, string) { return s.looks(t) >= looks+40, "" })
		all = s.asked(t, from, time.Now())
		if wrote = writes(all); len(wrote) == 0 {
			break
		}
		t.Logf("looked again, as this was written: %v", wrote)
	}
	if len(wrote) > 0 {
		t.Errorf("at rest it wrote: %v", wrote)
	}
	// Else the record itself would be of nothing.
	if !slices.ContainsFunc(all, func(q request) bool { return q.Verb == "update" && q.ObjectRef.Resource == "leases" }) {
		t.Errorf("the leader's Lease is not in the record of %d requests", len(all))
	}
}

// BenchmarkIdle is what ceo costs while nothing happens: `make bench-idle`.
func BenchmarkIdle(b *testing.B) {
	if !alone(b) {
		return
	}
	window := 2 * time.Minute
	if s := os.Getenv("CEO_IDLE_WINDOW"); s != "" {
		var err error
		window, err = time.ParseDuration(s)
		must(b, err)
	}
	s := newStill(b, 5, 0)
	s.findGuards(b)
	parts := append([]*part{s.operator}, s.agents...)
	for b.Loop() {
		for _, p := range parts {
			p.profile(b, syscall.SIGUSR1)
		}
		before := s.measure(b)
		<-time.After(window) // what is measured is time
		after := s.measure(b)
		for _, p := range parts {
			p.profile(b, syscall.SIGUSR2)
		}
		report := s.report(b, before, after)
		if path := os.Getenv("CEO_IDLE_REPORT"); path != "" {
			must(b, os.WriteFile(path, []byte(report), 0o600))
		} else {
			b.Log(report)
		}
		if w := writes(s.asked(b, before.at, after.at)); len(w) > 0 {
			b.Errorf("at rest it wrote: %v", w)
		}
	}
	if os.Getenv(profiles) != "" {
		<-time.After(5 * time.Second) // for the profiles to be written
	}
}

// findGuards looks which processes the guards are: a shell became each of them.
func (s *still) findGuards(t testing.TB) {
	t.Helper()
	if os.Getenv(programs) == "" {
		return
	}
	for _, n := range s.nodes {
		p, err := os.FindProcess(n.etcd.Pid())
		must(t, err)
		s.guards = append(s.guards, &part{Name: "guard-" + n.name, cmd: &exec.Cmd{Process: p}})
	}
}

// sample is what was used so far.
type sample struct {
	at       time.Time
	cpu      map[string]time.Duration
	requests map[string]float64 // of etcd, by method
	machine  time.Duration      // all processors, all processes
	load     string
}

func (s *still) parts() []*part {
	return append(append([]*part{s.operator, s.waiting}, s.agents...), s.guards...)
}

func (s *still) measure(t testing.TB) sample {
	t.Helper()
	out := sample{at: time.Now(), cpu: map[string]time.Duration{}, requests: map[string]float64{}}
	for _, p := range s.parts() {
		out.cpu[p.Name] = cpuOf(t, p.cmd.Process.Pid)
	}
	for _, n := range s.nodes {
		for l := range strings.Lines(n.etcd.Metrics(t)) {
			l, ok := strings.CutPrefix(l, "grpc_server_handled_total{")
			if !ok {
				continue
			}
			_, method, _ := strings.Cut(l, `grpc_method="`)
			method, _, _ = strings.Cut(method, `"`)
			f := strings.Fields(l)
			v, err := strconv.ParseFloat(f[len(f)-1], 64)
			must(t, err)
			out.requests[method] += v
		}
	}
	raw, err := os.ReadFile("/proc/stat")
	must(t, err)
	f := strings.Fields(strings.SplitN(string(raw), "\n", 2)[0])
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		out.machine += ticks(t, f[i])
	}
	raw, err = os.ReadFile("/proc/loadavg")
	must(t, err)
	out.load = strings.Join(strings.Fields(string(raw))[:3], " ")
	return out
}

// cpuOf is the time that a process has used so far, in user and system.
func cpuOf(t testing.TB, pid int) (all time.Duration) {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(raw), ") ")
	f := strings.Fields(rest)
	return ticks(t, f[11]) + ticks(t, f[12])
}

// ticks are of 10 ms.
func ticks(t testing.TB, s string) time.Duration {
	t.Helper()
	n, err := strconv.Atoi(s)
	must(t, err)
	return time.Duration(n) * 10 * time.Millisecond
}

// memoryOf is in KiB, by the kernel's names.
func memoryOf(t testing.TB, pid int) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, file := range []string{"status", "smaps_rollup"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		must(t, err)
		for l := range strings.Lines(string(raw)) {
			if f := strings.Fields(l); len(f) == 3 && f[2] == "kB" {
				if n, err := strconv.Atoi(f[1]); err == nil {
					out[strings.TrimSuffix(f[0], ":")] = n
				}
			}
		}
	}
	return out
}

// goals of the issue: MiB resident, percent of a core.
var goals = map[string]struct{ memory, cpu float64 }{"operator": {64, 1}, "agent": {48, 0.5}}

func (s *still) report(t testing.TB, before, after sample) string {
	t.Helper()
	over := after.at.Sub(before.at)
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	p("%d members, %s, %s; load average %s before and %s after.", len(s.nodes), over.Round(time.Second), machine(t), before.load, after.load)
	var ours time.Duration
	p("\n| | %% of a core | resident | its peak | proportional (PSS) | anonymous | goals |")
	p("|---|---|---|---|---|---|---|")
	for _, x := range s.parts() {
		used, m := after.cpu[x.Name]-before.cpu[x.Name], memoryOf(t, x.cmd.Process.Pid)
		ours += used
		percent, mib := 100*used.Seconds()/over.Seconds(), func(k string) float64 { return float64(m[k]) / 1024 }
		verdict := ""
		kind, _, _ := strings.Cut(x.Name, "-")
		if g, ok := goals[kind]; ok {
			verdict = fmt.Sprintf("%s ≤ %g MiB, %s ≤ %g%%", mark(mib("VmRSS") <= g.memory), g.memory, mark(percent <= g.cpu), g.cpu)
		}
		p("| %s | %.2f | %.1f MiB | %.1f MiB | %.1f MiB | %.1f MiB | %s |", x.Name, percent, mib("VmRSS"), mib("VmHWM"), mib("Pss"), mib("RssAnon"), verdict)
	}
	all := s.asked(t, before.at, after.at)
	p("\nRequests of the two operators to the API server, by its audit log; writes but the Lease's: %d.\n\n| verb | what | how often | a minute |\n|---|---|---|---|", len(writes(all)))
	count := map[string]int{}
	for _, q := range all {
		count[q.Verb+" | "+strings.Trim(q.ObjectRef.Resource+"/"+q.ObjectRef.Subresource+" "+q.ObjectRef.Name, "/ ")]++
	}
	for _, k := range slices.Sorted(maps.Keys(count)) {
		p("| %s | %d | %.1f |", k, count[k], float64(count[k])/over.Minutes())
	}
	p("\nRequests that etcd answered, all members together, the API server's own included:\n\n| method | a second |\n|---|---|")
	for _, k := range slices.Sorted(maps.Keys(after.requests)) {
		if n := after.requests[k] - before.requests[k]; n > 0 {
			p("| %s | %.2f |", k, n/over.Seconds())
		}
	}
	p("\nAll that is above used %.1f%% of a core; everything on this machine together %.0f%% of %d.",
		100*ours.Seconds()/over.Seconds(), 100*(after.machine-before.machine).Seconds()/over.Seconds(), runtime.NumCPU())
	return out.String()
}

func mark(ok bool) string {
	if ok {
		return "✔"
	}
	return "✗"
}

// machine says what this was measured on, and with what.
func machine(t testing.TB) string {
	t.Helper()
	f, err := os.Open("/proc/cpuinfo")
	must(t, err)
	defer func() { _ = f.Close() }()
	cpu := ""
	for l := bufio.NewScanner(f); l.Scan() && cpu == ""; {
		if v, ok := strings.CutPrefix(l.Text(), "model name"); ok {
			cpu = strings.TrimLeft(v, "\t: ")
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	must(t, err)
	program := "the test's own program in the parts' place, without guards"
	if bin := os.Getenv(programs); bin != "" {
		program = "the programs of " + filepath.Base(bin)
	}
	return fmt.Sprintf("%d cores (%s), Linux %s, etcd %s, %s, %s", runtime.NumCPU(), cpu, strings.TrimSpace(string(kernel)), etcdtest.Version, runtime.Version(), program)
}
