package state

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/lab/internal/proc"
)

func TestNodeNames(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"1", "cp-1"},
		{"cp-9", "cp-9"},
		{"0", ""},
		{"cp-0", ""},
		{"10", ""},
		{"cp-", ""},
		{"", ""},
		{"../1", ""},
		{"node-1", ""},
	} {
		t.Run(row.in, func(t *testing.T) {
			got, err := NodeName(row.in)
			if got != row.want || (err == nil) != (row.want != "") {
				t.Errorf("NodeName(%q) = %q, %v; want %q", row.in, got, err, row.want)
			}
		})
	}
}

func TestStateComesBackAsItWasWritten(t *testing.T) {
	d := Dir(t.TempDir())
	if s, err := d.Read(); s != nil || err != nil {
		t.Fatalf("state of an empty folder: %v, %v; want none", s, err)
	}
	want := &State{
		Phase: Starting, Created: time.Unix(1_700_000_000, 0).UTC(), EtcdDisk: 2 << 30,
		Switch:      &proc.Process{PID: 7, Start: 8, Boot: "b"},
		Nodes:       []*Node{{Name: "cp-1", Index: 1, Init: &proc.Process{PID: 9, Start: 10, Boot: "b"}, Joined: true}},
		Partitioned: []string{"cp-1"}, Images: []Image{{File: "f", SHA256: "s", From: "/x"}},
	}
	if err := d.Write(want); err != nil {
		t.Fatal(err)
	}
	got, err := d.Read()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v; want %+v", got, want)
	}
	left, _ := filepath.Glob(d.Path(".*"))
	if len(left) > 0 {
		t.Errorf("left behind by writing: %v", left)
	}
}

func TestStateThatCannotBeReadSaysWhatToDo(t *testing.T) {
	d := Dir(t.TempDir())
	if err := os.WriteFile(d.Path("state.json"), []byte(`{"phase": "st`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(); err == nil || !strings.Contains(err.Error(), "lab down") {
		t.Errorf("error %v; want one that names lab down", err)
	}
}

func TestTwoLabsHaveTwoCgroups(t *testing.T) {
	a, b := Dir("/var/lib/ceo-lab").Cgroup("cp-1"), Dir("/tmp/other").Cgroup("cp-1")
	if a == b || !strings.HasPrefix(a, "ceolab-") || !strings.HasSuffix(a, "/cp-1") {
		t.Errorf("cgroups %q and %q", a, b)
	}
}

func TestLockIsExclusiveAndSurvivesRemoval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "lock")
	quiet := func(string, ...any) {}
	unlock, err := LockFile(path, time.Second, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockFile(path, 0, quiet); err == nil {
		t.Fatal("a second lock was given while the first is held")
	}
	// What `down` does: the folder goes while the lock is held, and the next command must not be fooled by the old file.
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	again, err := LockFile(path, time.Second, quiet)
	if err != nil {
		t.Fatalf("lock in a new folder: %v", err)
	}
	again()
	unlock()
}

func TestKilledProcessIsNotAliveNorKilledAgain(t *testing.T) {
	self, err := proc.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Error("this process is not alive")
	}
	other := self
	other.Start++ // the same id, another process
	if other.Alive() {
		t.Error("a process with a reused id is taken for the old one")
	}
	if err := other.Kill(); err != nil {
		t.Errorf("kill of a process that is gone: %v", err)
	}
	other = self
	other.Boot = "another boot of the machine"
	if other.Alive() {
		t.Error("a process of an earlier boot is taken for alive")
	}
	if (*proc.Process)(nil).Alive() {
		t.Error("no process is alive")
	}
}
