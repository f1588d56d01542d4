// Package cgroup gives each node of the lab a cgroup of its own in every cgroup hierarchy of the machine: the many of v1 (and hybrid), or the one
// of v2.
//
// A node that shares its cgroups with others sees their containers, and its kubelet takes four times as long to start.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Hierarchy is one mounted cgroup hierarchy.
type Hierarchy struct {
	Path    string // where it is mounted: Root itself, or below it
	Type    string // "cgroup" or "cgroup2"
	Options string // mount options that give the same hierarchy again: "memory", "none,name=systemd", "" for cgroup2
}

// Root is where cgroups are.
const Root = "/sys/fs/cgroup"

// Unified says that there is the hierarchy of v2 alone.
func Unified(hs []Hierarchy) bool { return len(hs) == 1 && hs[0].Path == Root }

// Hierarchies lists what is mounted below /sys/fs/cgroup, and refuses machines where the lab cannot work.
func Hierarchies() ([]Hierarchy, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	return parse(string(b))
}

func parse(mountinfo string) ([]Hierarchy, error) {
	var all []Hierarchy
	systemd := false
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || (r[0] != "cgroup" && r[0] != "cgroup2") {
			continue
		}
		if r[0] == "cgroup2" && l[4] == Root {
			return []Hierarchy{{Path: Root, Type: "cgroup2"}}, nil
		}
		if !strings.HasPrefix(l[4], Root+"/") {
			continue
		}
		h := Hierarchy{Path: l[4], Type: r[0]}
		if h.Type == "cgroup" {
			var keep []string
			for o := range strings.SplitSeq(r[2], ",") {
				switch {
				case o == "rw" || o == "ro" || o == "xattr" || o == "clone_children" || o == "noprefix" || strings.HasPrefix(o, "release_agent="):
				case strings.HasPrefix(o, "name="):
					systemd = systemd || o == "name=systemd"
					keep = append(keep, "none", o)
				default:
					keep = append(keep, o)
				}
			}
			h.Options = strings.Join(keep, ",")
		}
		all = append(all, h)
	}
	if !systemd {
		return nil, errors.New("no cgroup v1 hierarchy named systemd is mounted below /sys/fs/cgroup: mount it with: mkdir -p /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd")
	}
	return all, nil
}

// Create makes the cgroup in every hierarchy.
func Create(name string) error {
	hs, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		if err := createIn(h, name); err != nil {
			return fmt.Errorf("cgroup %s in %s: %w", name, h.Path, err)
		}
	}
	return nil
}

func createIn(h Hierarchy, name string) error {
	dir := h.Path
	for part := range strings.SplitSeq(name, "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // cgroups are readable by all
			return err
		}
		if h.Path == Root {
			enableControllers(parent)
		}
		if !slices.Contains(strings.Split(h.Options, ","), "cpuset") {
			continue
		}
		// A new cpuset is empty, and nothing may enter an empty cpuset.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(parent, f)) //nolint:gosec // cgroup file
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, f), b, 0o600); err != nil { //nolint:gosec // as above
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// enableControllers gives the children of a v2 cgroup every controller that it has itself. One that cannot be given is missed by the kubelet,
// which then says so.
func enableControllers(dir string) {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers")) //nolint:gosec // cgroup file
	for c := range strings.FieldsSeq(string(b)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o600)
	}
}

// Visit moves the calling process into the cgroup of a node that runs. In v2 a cgroup whose children have controllers holds no processes, so
// visitors have one beside those of the node's systemd.
func Visit(name string) error {
	hs, err := Hierarchies()
	if err != nil {
		return err
	}
	if Unified(hs) {
		name = filepath.Join(name, "lab-exec")
		if err := createIn(hs[0], name); err != nil {
			return fmt.Errorf("cgroup %s: %w", name, err)
		}
	}
	return enter(hs, name)
}

// Enter moves the calling process, all of its threads, into the cgroup in every hierarchy.
func Enter(name string) error {
	hs, err := Hierarchies()
	if err != nil {
		return err
	}
	return enter(hs, name)
}

func enter(hs []Hierarchy, name string) error {
	for _, h := range hs {
		if err := os.WriteFile(filepath.Join(h.Path, name, "cgroup.procs"), []byte("0"), 0o600); err != nil {
			return fmt.Errorf("enter cgroup %s in %s: %w", name, h.Path, err)
		}
	}
	return nil
}

// Exists says in how many hierarchies the cgroup is there.
func Exists(name string) int {
	n := 0
	for _, dir := range dirs(name) {
		if _, err := os.Stat(dir); err == nil {
			n++
		}
	}
	return n
}

// PIDs lists the processes in the cgroup and below it, as this process' pid namespace sees them.
func PIDs(name string) []int {
	seen := map[int]bool{}
	for _, dir := range dirs(name) {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // it went away while we looked
			}
			b, _ := os.ReadFile(filepath.Join(p, "cgroup.procs")) //nolint:gosec // cgroup file
			for f := range strings.FieldsSeq(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// Destroy kills whatever runs in the cgroup and removes it everywhere. Only processes that the lab put there, and their children, can be in it.
func Destroy(name string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		for _, pid := range PIDs(name) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		thaw(name)
		left := removeAll(name)
		if left == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s for cgroup %s to be empty (processes %v): %w", limit, name, PIDs(name), left)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// thaw lets frozen processes die: a frozen one does not act on SIGKILL.
func thaw(name string) {
	for _, dir := range dirs(name) {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "freezer.state" {
				if b, err := os.ReadFile(p); err == nil && strings.TrimSpace(string(b)) != "THAWED" { //nolint:gosec // cgroup file
					_ = os.WriteFile(p, []byte("THAWED"), 0o600) //nolint:gosec // as above; there are no links in a cgroup tree
				}
			}
			return nil
		})
	}
}

func removeAll(name string) error {
	var last error
	for _, dir := range dirs(name) {
		var all []string
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, p)
			}
			return nil
		})
		for _, p := range slices.Backward(all) { // children come after their parents
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				last = err
			}
		}
	}
	return last
}

func dirs(name string) []string {
	hs, err := Hierarchies()
	if err != nil || name == "" {
		return nil
	}
	out := make([]string, 0, len(hs))
	for _, h := range hs {
		out = append(out, filepath.Join(h.Path, name))
	}
	return out
}
