package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/state"
)

// original holds the machine-wide settings as they were before the first lab. It is in /run because the settings do not survive a reboot either.
const original = "/run/ceo-lab-sysctls.json"

// changed are the settings that a kubelet changes: no namespace holds them, so the last lab to go gives the old values back.
var changed = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// raised are limits of the whole machine that a few nodes exceed: with 128 inotify instances the fourth containerd comes up without its CRI.
var raised = map[string]int{"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 1 << 20}

// raiseLimits writes the machine's settings down, if no other lab has, and raises the limits.
func raiseLimits() error {
	if _, err := os.Stat(original); errors.Is(err, os.ErrNotExist) {
		old := map[string]string{}
		names := slices.Clone(changed)
		for name := range raised {
			names = append(names, name)
		}
		for _, name := range names {
			if v, err := sysctl(name); err == nil {
				old[name] = v
			}
		}
		b, err := json.Marshal(old)
		if err != nil {
			return err
		}
		if err := state.WriteFile(original, b); err != nil {
			return err
		}
	}
	for name, want := range raised {
		v, err := sysctl(name)
		if err != nil {
			continue // this kernel has no such limit
		}
		if have, err := strconv.Atoi(v); err == nil && have >= want {
			continue
		}
		if err := os.WriteFile("/proc/sys/"+name, []byte(strconv.Itoa(want)), 0o600); err != nil { //nolint:gosec // fixed names
			return fmt.Errorf("raise %s to %d: %w", name, want, err)
		}
	}
	return nil
}

// restoreLimits gives the machine its settings back, unless another lab is up.
func (l *Lab) restoreLimits() {
	if others := otherLabs(l.Dir); len(others) > 0 {
		return
	}
	b, err := os.ReadFile(original)
	if err != nil {
		return
	}
	var old map[string]string
	if err := json.Unmarshal(b, &old); err != nil {
		l.R.Say("note: %s cannot be read, so kernel settings stay as they are: %v", original, err)
	}
	for name, value := range old {
		if strings.Contains(name, "..") {
			continue
		}
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o600); err != nil { //nolint:gosec // written by raiseLimits
			l.R.Say("note: could not give %s its old value %s back: %v", name, value, err)
		}
	}
	if err := os.Remove(original); err != nil {
		l.R.Say("note: %v", err)
	}
}

// otherLabs lists the cgroups of labs in other folders.
func otherLabs(d state.Dir) []string {
	hs, err := cgroup.Hierarchies()
	if err != nil {
		return nil
	}
	all, _ := filepath.Glob(filepath.Join(hs[0].Path, "ceolab-*"))
	var out []string
	for _, p := range all {
		if filepath.Base(p) != d.Cgroup() {
			out = append(out, p)
		}
	}
	return out
}

func sysctl(name string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + name) //nolint:gosec // fixed names
	return strings.TrimSpace(string(b)), err
}
