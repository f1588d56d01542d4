package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/state"
)

// Status is what `lab status` shows.
type Status struct {
	Phase      string       `json:"phase"` // "none" if there is no lab
	Found      []string     `json:"found,omitempty"`
	Endpoint   string       `json:"endpoint,omitempty"`
	Kubeconfig string       `json:"kubeconfig,omitempty"`
	API        string       `json:"api,omitempty"` // "ready", or why not
	Images     []string     `json:"images,omitempty"`
	Nodes      []NodeStatus `json:"nodes,omitempty"`
}

// NodeStatus is one node of it.
type NodeStatus struct {
	Name      string   `json:"name"`
	IP        string   `json:"ip"`
	Power     bool     `json:"power"`
	PID       int      `json:"pid,omitempty"` // its first process, as the machine sees it
	CutOff    bool     `json:"cutOff"`
	Joined    bool     `json:"joined"`
	Kubelet   string   `json:"kubelet"`             // systemd's word for it
	Processes []string `json:"processes,omitempty"` // programs in its containers: gone means gone
	Etcd      bool     `json:"etcd"`                // its etcd's client port answers
	APIServer bool     `json:"apiServer"`           // its API server's port answers
	Ready     string   `json:"ready"`               // "yes", "no", "unknown"
}

// Status looks at everything without changing anything.
func (l *Lab) Status(ctx context.Context) Status {
	if l.S == nil {
		return Status{Phase: "none", Found: l.found()}
	}
	st := Status{Phase: l.S.Phase, Endpoint: network.Endpoint(), Kubeconfig: l.Dir.Kubeconfig()}
	if l.S.Phase != state.Up {
		st.Found = l.found()
	}
	for _, i := range l.S.Images {
		st.Images = append(st.Images, i.From)
	}
	st.Nodes = make([]NodeStatus, len(l.S.Nodes))
	var wg sync.WaitGroup
	for i, n := range l.S.Nodes {
		wg.Go(func() { st.Nodes[i] = l.look(ctx, n) })
	}
	wg.Wait()
	var ready map[string]bool
	st.API = "no API server answers"
	if slices.ContainsFunc(st.Nodes, func(n NodeStatus) bool { return n.APIServer }) { // else the question would wait for its time-out
		if ready, st.API = l.readyNodes(ctx, time.Time{}); ready != nil {
			st.API = "ready"
		}
	}
	for i := range st.Nodes {
		r, known := ready[st.Nodes[i].Name]
		st.Nodes[i].Ready = map[bool]string{true: "yes", false: "no"}[r]
		if !known {
			st.Nodes[i].Ready = "unknown"
		}
	}
	return st
}

func (l *Lab) look(ctx context.Context, n *state.Node) NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	s := NodeStatus{Name: n.Name, IP: n.IP(), Power: n.Init.Alive(), CutOff: l.S.IsPartitioned(n), Joined: n.Joined, Kubelet: "-"}
	if !s.Power {
		return s
	}
	s.PID = n.Init.PID
	out, _ := l.inNode(ctx, n, "systemctl", "is-active", "kubelet.service") // its exit code repeats its word
	s.Kubelet = strings.TrimSpace(string(out))
	_ = network.InNode(n.Init, func() error {
		s.Etcd, s.APIServer = answers(ctx, "127.0.0.1:2379"), answers(ctx, net.JoinHostPort(n.IP(), strconv.Itoa(network.APIPort)))
		return nil
	})
	s.Processes = workload(cgroup.PIDs(l.Dir.Cgroup(n.Name)))
	return s
}

// workload names the programs among the processes, without those that every node has.
func workload(pids []int) []string {
	var out []string
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) //nolint:gosec // from /proc
		arg0, _, _ := strings.Cut(string(b), "\x00")
		name := filepath.Base(arg0)
		switch name {
		case ".", "systemd", "containerd", "kubelet", "containerd-shim-runc-v2", "pause":
			continue
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func answers(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
