// Package state is the lab's memory: what it made on this machine, written down before it is made, so that `lab down` finds all of it also after
// a crash half-way.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/lab/internal/proc"
)

// Phases of a lab.
const (
	Starting = "starting" // `up` has not finished; whoever finds this without a running `up` finds a crash
	Up       = "up"
	Stopping = "stopping" // `down` has not finished
)

// State is everything the lab must know about itself.
type State struct {
	Phase       string        `json:"phase"`
	Created     time.Time     `json:"created"`
	EtcdDisk    int64         `json:"etcdDiskBytes"`
	Switch      *proc.Process `json:"switch,omitempty"`
	Nodes       []*Node       `json:"nodes"`
	Partitioned []string      `json:"partitioned,omitempty"`
	Images      []Image       `json:"images,omitempty"`
}

// Node is one node of the lab.
type Node struct {
	Name   string        `json:"name"`
	Index  int           `json:"index"`
	Init   *proc.Process `json:"init,omitempty"` // first process; nil when killed
	Joined bool          `json:"joined"`
	Moved  string        `json:"moved,omitempty"`  // its address, where that is no longer the one of its number
	Images []string      `json:"images,omitempty"` // digests of Images that it has
}

// Image is an image tar that every node shall have.
type Image struct {
	File   string `json:"file"`   // in the lab's images folder
	SHA256 string `json:"sha256"` // of the tar
	From   string `json:"from"`
}

// IP is the address of the node.
func (n *Node) IP() string {
	if n.Moved != "" {
		return n.Moved
	}
	return NodeIP(n.Index)
}

// NodeIP is the address of the node with that number.
func NodeIP(index int) string { return fmt.Sprintf("10.78.0.%d", 10+index) }

// MaxNodes is how many nodes a lab can have: their addresses follow the balancer's .10.
const MaxNodes = 9

// Node finds a node by its name or number.
func (s *State) Node(name string) (*Node, error) {
	want, err := NodeName(name)
	if err != nil {
		return nil, err
	}
	var have []string
	for _, n := range s.Nodes {
		if n.Name == want {
			return n, nil
		}
		have = append(have, n.Name)
	}
	if len(have) == 0 {
		return nil, errors.New("no lab is up: run lab up")
	}
	return nil, fmt.Errorf("no node %s in this lab: it has %s", want, strings.Join(have, ", "))
}

// Running lists the nodes whose first process runs.
func (s *State) Running() []*Node {
	var out []*Node
	for _, n := range s.Nodes {
		if n.Init.Alive() {
			out = append(out, n)
		}
	}
	return out
}

// IsPartitioned says whether the node is cut off.
func (s *State) IsPartitioned(n *Node) bool { return slices.Contains(s.Partitioned, n.Name) }

// NodeName turns "2" or "cp-2" into "cp-2".
func NodeName(s string) (string, error) {
	i, err := NodeIndex(s)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("cp-%d", i), nil
}

// NodeIndex turns "2" or "cp-2" into 2.
func NodeIndex(s string) (int, error) {
	d := strings.TrimPrefix(s, "cp-")
	if len(d) != 1 || d[0] < '1' || d[0] > '0'+MaxNodes {
		return 0, fmt.Errorf("%q is no node: nodes are cp-1 to cp-%d (or 1 to %d)", s, MaxNodes, MaxNodes)
	}
	return int(d[0] - '0'), nil
}

// Dir is the folder that a lab keeps its things in.
type Dir string

// DefaultDir is $CEO_LAB_DIR, or /var/lib/ceo-lab.
func DefaultDir() Dir {
	if d := os.Getenv("CEO_LAB_DIR"); d != "" {
		if abs, err := filepath.Abs(d); err == nil {
			return Dir(abs)
		}
		return Dir(d)
	}
	return "/var/lib/ceo-lab"
}

// Path is a path inside of the folder.
func (d Dir) Path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// NodePath is a path inside of a node's folder.
func (d Dir) NodePath(n *Node, parts ...string) string {
	return d.Path(append([]string{"nodes", n.Name}, parts...)...)
}

// Kubeconfig is the admin's kubeconfig; it points at the balancer.
func (d Dir) Kubeconfig() string { return d.Path("admin.conf") }

// Cgroup is the name of the cgroup that holds everything of this lab. It is made from the folder, so that two labs on one machine never take
// each other's processes for their own.
func (d Dir) Cgroup(parts ...string) string {
	h := sha256.Sum256([]byte(d))
	return filepath.Join(append([]string{"ceolab-" + hex.EncodeToString(h[:4])}, parts...)...)
}

// Read returns the state, or nil if there is none. It needs no lock: the file is replaced as a whole.
func (d Dir) Read() (*State, error) {
	b, err := os.ReadFile(d.Path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no lab is not an error here
	}
	if err != nil {
		return nil, fmt.Errorf("read the lab's state: %w", err)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("the lab's state %s cannot be read (run lab down, which does without it): %w", d.Path("state.json"), err)
	}
	return &s, nil
}

// Write replaces the state and makes it durable.
func (d Dir) Write(s *State) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return WriteFile(d.Path("state.json"), b)
}

// WriteFile replaces a file as a whole: a reader sees the old or the new one.
func WriteFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Lock takes the lab for a change. It waits for another command up to limit; the kernel gives the lock back when its holder dies.
func (d Dir) Lock(limit time.Duration, say func(string, ...any)) (unlock func(), err error) {
	return LockFile(d.Path("lock"), limit, say)
}

// LockFile takes an exclusive lock on a file.
func LockFile(path string, limit time.Duration, say func(string, ...any)) (unlock func(), err error) {
	deadline, told := time.Now().Add(limit), false
	for {
		f, err := tryLock(path)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("lock %s: another lab command holds it (waited %s)", path, limit)
		}
		if !told {
			say("waiting for another lab command, which holds %s (up to %s)", path, limit)
			told = true
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// tryLock returns EWOULDBLOCK when somebody else has the lock.
func tryLock(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the lab's own lock
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a file descriptor fits
		return nil, errors.Join(err, f.Close())
	}
	// `down` removes the file while it holds the lock: a lock on a file that is gone protects nothing.
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(path); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
	}
	return nil, errors.Join(unix.EWOULDBLOCK, f.Close())
}
