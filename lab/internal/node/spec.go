// Package node makes one node: namespaces with a root of their own, and Debian's systemd as their first process.
//
// See docs/adr/0002-lab-nodes.md for why a node is built this way.
package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"clusteretcd.io/ceo/lab/internal/state"
)

// Spec is what a node is made from. The lab writes it to a file; the node's first process reads it.
type Spec struct {
	Name          string   `json:"name"`
	Index         int      `json:"index"`
	IP            string   `json:"ip"`
	Dir           string   `json:"dir"`    // the node's own folder on the machine
	Cgroup        string   `json:"cgroup"` // its cgroup, the same in each hierarchy
	KubernetesBin string   `json:"kubernetesBin"`
	EtcdBin       string   `json:"etcdBin"`
	CutOff        bool     `json:"cutOff"`  // boots into a partition
	Friends       []string `json:"friends"` // addresses on the same side of it

	Moved map[int]string `json:"moved,omitempty"` // nodes whose address is not the one of their number
}

// Address of the node with that number.
func (s Spec) Address(index int) string {
	if ip, ok := s.Moved[index]; ok {
		return ip
	}
	return state.NodeIP(index)
}

// In the node's folder.
func (s Spec) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// Var is the node's /var.
func (s Spec) Var(parts ...string) string { return s.path(append([]string{"var"}, parts...)...) }

// EtcdImage is the disk of /var/lib/etcd.
func (s Spec) EtcdImage() string { return s.path("etcd.img") }

// InitLog has what the node's first process said before it became systemd.
func (s Spec) InitLog() string { return s.path("init.log") }

func (s Spec) file() string { return s.path("spec.json") }

func (s Spec) write() error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(s.file(), b, 0o600)
}

func readSpec(path string) (Spec, error) {
	var s Spec
	b, err := os.ReadFile(path) //nolint:gosec // given by the lab itself
	if err != nil {
		return s, fmt.Errorf("read the node's spec: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read the node's spec %s: %w", path, err)
	}
	return s, nil
}
