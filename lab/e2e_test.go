//go:build lab

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/cluster"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/state"
)

// lab is a lab of this test's own: another folder, hence other cgroups and nothing in common with a lab that is up already.
type lab struct {
	*testing.T
	bin string
	dir state.Dir
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests need root: nodes are made of namespaces, mounts and cgroups")
	}
	bin := filepath.Join(t.TempDir(), "lab")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil { //nolint:gosec // this package
		t.Fatalf("build lab: %v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("/var/lib", "ceo-lab-test-")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{T: t, bin: bin, dir: state.Dir(dir)}
	t.Cleanup(func() {
		l.T = t // a subtest may have borrowed it
		_ = l.cmd("down").Run()
		_ = os.Remove(dir)
	})
	return l
}

func (l *lab) cmd(args ...string) *exec.Cmd {
	c := exec.Command(l.bin, args...) //nolint:gosec // just built
	c.Env = append(os.Environ(), "CEO_LAB_DIR="+string(l.dir))
	return c
}

// run runs a verb that must succeed and returns its standard output.
func (l *lab) run(args ...string) string {
	l.Helper()
	began := time.Now()
	c := l.cmd(args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		l.Fatalf("lab %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	l.Logf("lab %s: %s", strings.Join(args, " "), time.Since(began).Round(10*time.Millisecond))
	return string(out)
}

// fails runs a verb that must fail, and returns what it said.
func (l *lab) fails(args ...string) string {
	l.Helper()
	out, err := l.cmd(args...).CombinedOutput()
	if err == nil {
		l.Fatalf("lab %s succeeded: %s", strings.Join(args, " "), out)
	}
	return string(out)
}

func (l *lab) status() cluster.Status {
	l.Helper()
	var st cluster.Status
	if err := json.Unmarshal([]byte(l.run("status", "-o", "json")), &st); err != nil {
		l.Fatal(err)
	}
	return st
}

func (l *lab) eventually(what string, limit time.Duration, ok func() (bool, string)) {
	l.Helper()
	deadline := time.Now().Add(limit)
	for {
		done, saw := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			l.Fatalf("waited %s for %s: %s", limit, what, saw)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// nothingLeft checks the machine for anything of this lab.
func (l *lab) nothingLeft() {
	l.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		l.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, string(l.dir)) {
			l.Errorf("a mount is left: %s", line)
		}
	}
	if loops := node.Loops(string(l.dir)); len(loops) > 0 {
		l.Errorf("loop devices are left: %v", loops)
	}
	if n := cgroup.Exists(l.dir.Cgroup()); n > 0 {
		l.Errorf("the cgroup is left in %d hierarchies", n)
	}
	for _, name := range []string{"br0", "port1", "port2", "port3", "port4"} { // never made in the machine's own namespace, so never left there
		if _, err := os.Stat("/sys/class/net/" + name); err == nil {
			l.Errorf("network interface %s is left", name)
		}
	}
	if named, _ := filepath.Glob("/run/netns/*ceo*"); len(named) > 0 {
		l.Errorf("network namespaces are left: %v", named)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		cg, _ := os.ReadFile(filepath.Join(p, "cgroup"))
		args, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if len(args) == 0 {
			continue // dead, and not yet collected by the machine's first process
		}
		if bytes.Contains(cg, []byte(l.dir.Cgroup())) || bytes.Contains(args, []byte(l.dir)) {
			l.Errorf("process %s is left: %q", filepath.Base(p), args)
		}
	}
	if _, err := os.Stat(string(l.dir)); !errors.Is(err, os.ErrNotExist) {
		left, _ := filepath.Glob(l.dir.Path("*"))
		l.Errorf("the folder is left (%v) with %v", err, left)
	}
}

func TestOneNodeLosesEverythingInTurn(t *testing.T) {
	l := newLab(t)
	before := sysctls(t)
	l.run("up", "--nodes", "1", "--etcd-disk", "512M")
	st := l.status()
	if st.Phase != state.Up || len(st.Nodes) != 1 || st.Nodes[0].Ready != "yes" || st.Nodes[0].Kubelet != "active" {
		t.Fatalf("status after up: %+v", st)
	}
	for _, p := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if !slices.Contains(st.Nodes[0].Processes, p) {
			t.Errorf("%s does not run: %v", p, st.Nodes[0].Processes)
		}
	}
	if out := l.fails("up", "--nodes", "1"); !strings.Contains(out, "lab down") {
		t.Errorf("a second up says: %s", out)
	}

	// What a command in a node gets and gives back.
	c := l.cmd("exec", "cp-1", "--", "sh", "-c", "cat; exit 7")
	c.Stdin = strings.NewReader("through")
	out, err := c.Output()
	var exit *exec.ExitError
	if string(out) != "through" || !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exec gave %q and %v; want its input and exit code 7", out, err)
	}
	if got := strings.TrimSpace(l.run("exec", "1", "--", "cat", "/proc/1/comm")); got != "systemd" {
		t.Errorf("first process: %s; want systemd", got)
	}
	if got := l.run("exec", "1", "--", "ip", "route"); strings.Contains(got, "default") {
		t.Errorf("the node has a way out: %s", got)
	}
	// Its etcd disk is an XFS of the size that was asked for, with reflink.
	l.run("exec", "1", "--", "sh", "-c", `set -e; [ "$(stat -f -c %T /var/lib/etcd)" = xfs ]
		[ "$(df -BM --output=size /var/lib/etcd | tail -1 | tr -dc 0-9)" -lt 513 ]
		echo x > /var/lib/etcd/marker; cp --reflink=always /var/lib/etcd/marker /var/lib/etcd/copy`)
	if got := l.run("kubectl", "get", "nodes", "-o", "name"); got != "node/cp-1\n" {
		t.Errorf("kubectl get nodes: %q", got)
	}
	kubeconfig := strings.TrimSpace(l.run("kubeconfig"))
	if got := l.run("netns-exec", "--", "sh", "-c", "grep -c 10.78.0.10 "+kubeconfig); strings.TrimSpace(got) != "1" {
		t.Errorf("the kubeconfig does not point at the balancer: %s", got)
	}
	l.run("kubelet", "1", "stop")
	if got := l.status().Nodes[0].Kubelet; got != "inactive" {
		t.Errorf("kubelet after stop: %s", got)
	}
	l.run("kubelet", "1", "start")

	// An image that is loaded once is there after a boot; a file that is copied in arrives whole.
	tar := filepath.Join(t.TempDir(), "lab.tar")
	l.run("image", tar, "lab.test/self:v1", l.bin)
	l.run("load", tar)
	l.run("cp", l.bin, "cp-1:/root/")
	back := filepath.Join(t.TempDir(), "back")
	l.run("cp", "cp-1:/root/lab", back)
	if a, b := read(t, l.bin), read(t, back); !bytes.Equal(a, b) {
		t.Errorf("copied there and back: %d bytes became %d", len(a), len(b))
	}

	l.run("kill", "1")
	st = l.status()
	if st.Nodes[0].Power || len(cgroup.PIDs(l.dir.Cgroup("cp-1"))) > 0 {
		t.Errorf("after the power loss: %+v, processes %v", st.Nodes[0], cgroup.PIDs(l.dir.Cgroup("cp-1")))
	}
	if out := l.fails("exec", "1", "--", "true"); !strings.Contains(out, "lab boot") {
		t.Errorf("exec on a node without power says: %s", out)
	}
	if got := l.run("logs", "1", "etcd", "--tail", "5"); strings.Count(got, "\n") != 5 {
		t.Errorf("the last 5 lines of etcd's log of a node without power: %q", got)
	}
	l.run("boot", "1", "--ready")
	l.run("exec", "1", "--", "test", "-e", "/var/lib/etcd/marker")
	if got := l.run("exec", "1", "--", "ctr", "-n", "k8s.io", "images", "ls", "-q"); !strings.Contains(got, "lab.test/self:v1") {
		t.Errorf("images after a boot: %s", got)
	}

	if out := l.fails("wipe", "1", "--disk"); !strings.Contains(out, "lab kill") {
		t.Errorf("replacing the disk of a running node says: %s", out)
	}
	l.run("kubelet", "1", "stop") // or etcd is started again in the empty folder while we look
	l.run("wipe", "1")
	l.run("exec", "1", "--", "sh", "-c", "! test -e /var/lib/etcd/marker")
	l.run("exec", "1", "--", "touch", "/var/lib/etcd/marker")
	l.run("kill", "1")
	l.run("wipe", "1", "--disk")
	l.run("boot", "1")
	l.run("exec", "1", "--", "sh", "-c", "! test -e /var/lib/etcd/marker")

	l.run("down")
	l.nothingLeft()
	// Another lab on this machine has its own say in them, as long as it is up.
	others, _ := filepath.Glob("/sys/fs/cgroup/systemd/ceolab-*")
	if after := sysctls(t); after != before && len(others) == 0 {
		t.Errorf("machine-wide settings after down: %s; before up: %s", after, before)
	}
	l.run("down") // once more is no error
}

func TestThreeNodesTakeAPartitionAndAFourth(t *testing.T) {
	l := newLab(t)
	l.run("up", "--nodes", "3")
	health := func(at, of string) error {
		return l.cmd("exec", at, "--", "etcdctl", "--endpoints=https://"+of+":2379", "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
			"--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt", "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key",
			"--command-timeout=2s", "--dial-timeout=1s", "get", "x").Run()
	}
	l.run("partition", "3")
	l.eventually("the cut-off member to serve nobody", time.Minute, func() (bool, string) { return health("3", "127.0.0.1") != nil, "it serves" })
	l.eventually("the other two to serve", time.Minute, func() (bool, string) { return health("1", "127.0.0.1") == nil, "they do not" })
	if health("1", "10.78.0.13") == nil {
		t.Error("cp-1 reaches the cut-off cp-3")
	}
	// A node that boots into a partition is cut off before anything runs on it.
	l.run("kill", "3")
	l.run("boot", "3")
	if health("1", "10.78.0.13") == nil || l.cmd("exec", "3", "--", "nft", "list", "table", "ip", "ceolab").Run() != nil {
		t.Error("cp-3 booted out of the partition")
	}
	l.run("heal")
	l.eventually("the healed member to serve", time.Minute, func() (bool, string) { return health("1", "10.78.0.13") == nil, "it does not" })

	l.run("kill", "2", "3")
	l.eventually("a lone member to serve nobody", time.Minute, func() (bool, string) { return health("1", "127.0.0.1") != nil, "it serves" })
	l.run("boot", "2", "3", "--ready")

	l.run("add", "4")
	if st := l.status(); len(st.Nodes) != 4 || st.Nodes[3].Ready != "yes" {
		t.Errorf("after add: %+v", st.Nodes)
	}
	l.run("remove", "4")
	l.eventually("three members", 30*time.Second, func() (bool, string) {
		out := l.run("exec", "1", "--", "etcdctl", "--endpoints=https://127.0.0.1:2379", "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
			"--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt", "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key", "member", "list")
		return strings.Count(out, "\n") == 3, out
	})
	if got := l.run("kubectl", "get", "nodes", "-o", "name"); strings.Contains(got, "cp-4") {
		t.Errorf("nodes after remove: %s", got)
	}
	l.run("down")
	l.nothingLeft()
}

func TestDownCleansUpAfterACrash(t *testing.T) {
	for _, row := range []struct {
		name  string
		until string // kill -9 when `up` says this
		after time.Duration
		again bool // clean up by another up (which is killed too) and then down
	}{
		{name: "as the nodes start", until: "starting cp-1"},
		{name: "with a node that runs", until: "kubeadm init"},
		{name: "with a cluster that half runs, found by up", until: "kubeadm init", after: 4 * time.Second, again: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab(t)
			l.crash(row.until, row.after)
			st := l.status()
			if st.Phase != state.Starting || len(st.Found) == 0 {
				t.Errorf("status after the crash: %+v", st)
			}
			if row.again {
				if said := l.crash("starting cp-1", 0); !strings.Contains(said, "left things behind") {
					t.Errorf("up on a dirty machine says: %s", said)
				}
			}
			l.run("down")
			l.nothingLeft()
		})
	}
	t.Run("with a state that cannot be read", func(t *testing.T) {
		l := newLab(t)
		l.crash("kubeadm init", 0)
		if err := os.WriteFile(l.dir.Path("state.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		l.run("down")
		l.nothingLeft()
	})
}

// crash starts `up` and kills it with -9 some time after it has said a word. It returns what it said until then.
func (l *lab) crash(word string, after time.Duration) string {
	l.Helper()
	c := l.cmd("up", "--nodes", "1")
	stderr, err := c.StderrPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := c.Start(); err != nil {
		l.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(io.TeeReader(stderr, &said))
	for lines.Scan() && !strings.Contains(lines.Text(), word) {
		continue
	}
	if !strings.Contains(said.String(), word) {
		l.Fatalf("up ended before it said %q: %s", word, said.String())
	}
	time.Sleep(after) // where in the middle it dies is of no matter; later is further
	if err := c.Process.Kill(); err != nil {
		l.Fatal(err)
	}
	_ = c.Wait()
	return said.String()
}

func sysctls(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "fs/inotify/max_user_instances"} {
		fmt.Fprintf(&b, "%s=%s ", name, bytes.TrimSpace(read(t, "/proc/sys/"+name)))
	}
	return b.String()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	return b
}
