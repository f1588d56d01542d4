//go:build integration

package guard

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

func single(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t, "cp-1")
	m.permitBootstrap(t)
	m.guard(t)
	m.serving(t)
	m.record(t, clusterID(t, m.Member))
	m.put(t, m.Client(t), "before")
	return m
}

func TestHoldStopsEtcdAndReleaseStartsItWithItsData(t *testing.T) {
	m := single(t)
	pid := m.serving(t).ChildPID
	rec := node.Hold{ID: "rec-1", Reason: "a recovery", Fast: true}
	began := time.Now()
	for range 2 {
		if s, err := HoldAndWait(etcdtest.Context(t), m.paths, rec); err != nil || s.HoldID != "rec-1" {
			t.Fatalf("%+v %v", s, err)
		}
	}
	t.Logf("held after %s", time.Since(began))
	if !gone(pid) {
		t.Fatal("P10: held, and etcd still runs")
	}
	m.aliveNotReady(t)
	if _, body := m.probe(t, "/readyz"); !strings.Contains(body, "rec-1") {
		t.Errorf("readyz does not say why: %s", body)
	}
	var held *HeldError
	if _, err := HoldAndWait(etcdtest.Context(t), m.paths, node.Hold{ID: "rec-2"}); !errors.As(err, &held) {
		t.Errorf("held twice: %v", err)
	}
	if err := ReleaseAndPoke(t.Context(), m.paths, "rec-2"); !errors.As(err, &held) {
		t.Errorf("released by another: %v", err)
	}
	began = time.Now()
	if err := ReleaseAndPoke(t.Context(), m.paths, "rec-1"); err != nil {
		t.Fatal(err)
	}
	s := m.serving(t)
	t.Logf("ready %s after the release", time.Since(began))
	if s.Decision.Answer != Start || s.ChildPID == pid {
		t.Errorf("%+v", s)
	}
	if !has(t, m.Client(t), "before") {
		t.Error("the data is gone")
	}
}

// A hold is durable: it needs no guard to be placed, and a guard that starts
// under it starts nothing.
func TestHoldOutlivesTheGuard(t *testing.T) {
	m := single(t)
	if code := m.end(t, syscall.SIGTERM); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	if _, err := HoldAndWait(t.Context(), m.paths, node.Hold{ID: "fence"}); !errors.Is(err, ErrNoGuard) {
		t.Fatalf("got %v", err)
	}
	m.guard(t)
	m.until(t, "held", func(s Status) bool { return s.State == Held && s.HoldID == "fence" })
	m.aliveNotReady(t)
	if m.log.starts() > 0 {
		t.Error("etcd was started under a hold")
	}
	if err := os.Remove(m.paths.Hold()); err != nil { // nobody pokes
		t.Fatal(err)
	}
	m.serving(t)
}

func TestAnEmptyDirNeverBootstraps(t *testing.T) {
	m := newMachine(t, "cp-1")
	m.guard(t)
	m.until(t, "waiting", func(s Status) bool { return s.State == Waiting && s.Decision.Answer == Wait })
	m.aliveNotReady(t)
	if err := Dial(m.paths).Poke(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(datadir.MemberDir(m.DataDir)); !os.IsNotExist(err) || m.log.starts() > 0 {
		t.Fatalf("P25: etcd was started on nothing: %v", err)
	}
	// The permission is for one start; the guard takes it before it uses it.
	m.permitBootstrap(t)
	m.serving(t)
	m.record(t, clusterID(t, m.Member))
	if readIntent(m.paths).BootstrapOnce {
		t.Error("the permission is still there")
	}
	m.end(t, syscall.SIGKILL)
	if err := os.Rename(datadir.MemberDir(m.DataDir), m.DataDir+"/../lost"); err != nil {
		t.Fatal(err)
	}
	m.guard(t)
	m.until(t, "waiting again", func(s Status) bool { return s.State == Waiting })
	m.aliveNotReady(t)
}

func TestSignalsAndExitCodes(t *testing.T) {
	m := single(t)
	pid := m.serving(t).ChildPID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := m.exitCode(t); code != 128+int(syscall.SIGKILL) {
		t.Errorf("etcd was killed by SIGKILL, the guard ended with %d", code)
	}
	m.guard(t)
	pid = m.serving(t).ChildPID
	m.end(t, syscall.SIGKILL)
	etcdtest.Eventually(t, "etcd to die with its guard", func() (bool, string) { return gone(pid), "it runs" })
	m.guard(t)
	s := m.serving(t)
	if s.Decision.Answer != Start || !has(t, m.Client(t), "before") {
		t.Errorf("%+v", s)
	}
	last := s.EtcdArgs[len(s.EtcdArgs)-2:]
	if !slices.Equal(last, []string{"--initial-cluster=cp-1=" + m.PeerURL, "--initial-cluster-state=existing"}) {
		t.Errorf("started with %q", s.EtcdArgs)
	}
}

// As the first process of a container it inherits what others leave behind, and
// must reap it for days, with an etcd or without.
func TestTheFirstProcessReapsOrphans(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a pid namespace needs root")
	}
	m := newMachine(t, "cp-1")
	m.permitBootstrap(t)
	m.guardAs(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
	m.serving(t)
	orphansAreReaped(t, m, 1)
	if _, err := HoldAndWait(etcdtest.Context(t), m.paths, node.Hold{ID: "x"}); err != nil {
		t.Fatal(err)
	}
	orphansAreReaped(t, m, 0)
}

func orphansAreReaped(t *testing.T, m *machine, others int) {
	t.Helper()
	pid := strconv.Itoa(m.cmd.Process.Pid)
	mark := filepath.Join(m.paths.Root, "orphan-ran")
	sh := exec.CommandContext(etcdtest.Context(t), "nsenter", "-t", pid, "-p", "sh", "-c", "(sleep 0.2; touch "+mark+") & exit 0")
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	etcdtest.Eventually(t, "the orphan to run, end and be reaped", func() (bool, string) {
		_, err := os.Stat(mark)
		children := childrenOf(t, pid)
		return err == nil && len(children) == others, fmt.Sprint(children, err)
	})
	_ = os.Remove(mark)
}

func childrenOf(t *testing.T, pid string) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + pid + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range tasks {
		b, _ := os.ReadFile(f) // a thread may be gone
		all = append(all, strings.Fields(string(b))...)
	}
	return all
}

// A second etcd on one data dir never (P10): it waits for the first to end.
func TestAnEtcdThatStillRunsIsWaitedFor(t *testing.T) {
	m := single(t)
	m.end(t, syscall.SIGTERM)
	m.Start(t, "--initial-cluster="+m.Name+"="+m.PeerURL) // nobody's child
	m.WaitHealthy(t)
	m.guard(t)
	m.until(t, "waiting", func(s Status) bool { return s.State == Waiting && strings.Contains(s.Decision.Reason, "P10") })
	if !m.Running() {
		t.Fatal("it was ended")
	}
	m.Stop(t)
	m.serving(t)
}

func TestOlderEpochIsSetAside(t *testing.T) {
	m := single(t)
	m.end(t, syscall.SIGTERM)
	old := clusterOf(t, m)
	m.record(t, old, "abcdef")
	m.guard(t)
	m.waits(t, "")
	m.aliveNotReady(t)
	setAside(t, m, olderEpoch, old)
}

func TestDamagedDataIsNeitherStartedNorTouchedAlone(t *testing.T) {
	m := single(t)
	m.end(t, syscall.SIGTERM)
	wals, err := filepath.Glob(filepath.Join(datadir.WALDir(m.DataDir), "*.wal"))
	if err != nil || len(wals) == 0 {
		t.Fatal(wals, err)
	}
	if err := os.Truncate(wals[0], 3); err != nil {
		t.Fatal(err)
	}
	m.guard(t)
	m.until(t, "refused", func(s Status) bool { return s.State == Refused })
	m.aliveNotReady(t)
	if all, err := datadir.ListArchive(m.DataDir); len(all) != 0 || err != nil {
		t.Errorf("I1: set aside: %v %v", all, err)
	}
}

func clusterOf(t *testing.T, m *machine) string {
	t.Helper()
	ids, err := datadir.ReadIDs(m.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return node.FormatID(ids.ClusterID)
}

// setAside asserts that the newest entry of the archive is this (I1).
func setAside(t *testing.T, m *machine, reason, cluster string) {
	t.Helper()
	all, err := datadir.ListArchive(m.DataDir)
	if err != nil || len(all) == 0 {
		t.Fatalf("nothing was set aside: %v", err)
	}
	slices.SortFunc(all, func(a, b datadir.Entry) int { return a.At.Compare(b.At) })
	e := all[len(all)-1]
	if e.Reason != reason || !e.Held || node.FormatID(e.Identity.ClusterID) != cluster {
		t.Errorf("set aside: %+v", e)
	}
}
