// Package adopt decides how a running kubeadm cluster's etcd is taken over: node by node, and nothing of what runs changes.
package adopt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"clusteretcd.io/ceo/internal/etcd"
)

// Node is a control-plane node of the API, with what its agent says.
type Node struct {
	Name string `json:"name"`
	// Agent: its agent answered. Why, if it did not.
	Agent bool   `json:"agent"`
	Why   string `json:"why,omitempty"`
	// Guarded: etcd runs under the guard.
	Guarded bool `json:"guarded"`
	// Voter and Healthy are its member's.
	Voter   bool   `json:"voter"`
	Healthy bool   `json:"healthy"`
	Leader  bool   `json:"leader"`
	Version string `json:"version,omitempty"`
	// Flags of etcd as it runs: what the EtcdCluster is to say.
	Quota     int64 `json:"quotaBytes,omitempty"`
	Heartbeat int   `json:"heartbeatMilliseconds,omitempty"`
	Election  int   `json:"electionMilliseconds,omitempty"`
}

// Facts is everything that the decision is made of.
type Facts struct {
	Cluster string
	Nodes   []Node
	// Stray are members that no control-plane node of the API stands for.
	Stray []string
	// Recovery that is open, "" for none.
	Recovery string
	// NoCRD: the API does not know the EtcdCluster.
	NoCRD bool
	// Exists and Managed are the EtcdCluster's.
	Exists, Managed bool
	// AcceptDowntime is the named consent to stop the API for some seconds.
	AcceptDowntime bool
}

// Spec is what the EtcdCluster will ask for: what runs.
type Spec struct {
	Quota     string `json:"quota"`
	Profile   string `json:"profile"`
	Heartbeat int    `json:"heartbeatMilliseconds,omitempty"`
	Election  int    `json:"electionMilliseconds,omitempty"`
}

// Plan is what will be done. Refused says why nothing is.
type Plan struct {
	Cluster string   `json:"cluster"`
	Nodes   []Node   `json:"nodes"`
	Refused []string `json:"refused,omitempty"`
	// Guard are the nodes whose etcd is restarted once, in this order.
	Guard []string `json:"guard,omitempty"`
	Spec  Spec     `json:"spec"`
	// Done: there is nothing left to do.
	Done bool `json:"done"`
	// Makes: the EtcdCluster is made; otherwise its spec stays as it is.
	Makes bool `json:"makes"`
}

// Decide says how the cluster is adopted, from wherever it is.
func Decide(f Facts) Plan {
	p := Plan{Cluster: f.Cluster, Nodes: f.Nodes, Makes: !f.Exists}
	refuse := func(format string, args ...any) { p.Refused = append(p.Refused, fmt.Sprintf(format, args...)) }
	if f.NoCRD {
		refuse("the API does not know the EtcdCluster: install ceo first, `ceo install --apply` or `helm install ceo charts/ceo -n kube-system`")
	}
	if f.Recovery != "" {
		refuse("recovery %s is open: let it end first, see `ceo status`", f.Recovery)
	}
	if len(f.Nodes) == 0 {
		refuse("the API has no node with the label node-role.kubernetes.io/control-plane")
	}
	for _, s := range f.Stray {
		refuse("member %s belongs to no control-plane node of the API: remove it, or join its node, first", s)
	}
	voters, healthy := 0, 0
	for _, n := range f.Nodes {
		refuseNode(n, refuse)
		if n.Voter {
			voters++
			if n.Healthy {
				healthy++
			}
		}
	}
	p.Spec = spec(f.Nodes, refuse)
	for _, n := range f.Nodes {
		if !n.Guarded {
			p.Guard = append(p.Guard, n.Name)
		}
	}
	// The leader last: its hand-over is then the only one.
	slices.SortStableFunc(p.Guard, func(a, b string) int { return bit(leads(f.Nodes, a)) - bit(leads(f.Nodes, b)) })
	if len(p.Guard) > 0 && voters <= 2 && !f.AcceptDowntime {
		refuse("etcd has %d voter(s): each restart stops the API for some seconds. Say --accept-risk=downtime if that may be", voters)
	}
	if voters > 0 && healthy < etcd.Quorum(voters) {
		refuse("the quorum is not healthy: %d of %d voters are", healthy, voters)
	}
	p.Done = len(p.Refused) == 0 && len(p.Guard) == 0 && f.Managed
	return p
}

func refuseNode(n Node, refuse func(string, ...any)) {
	switch {
	case !n.Agent:
		refuse("node %s has no agent that answers (%s): see the log of its Pod of the DaemonSet ceo-installer, or run `ceo node install` there", n.Name, n.Why)
	case !n.Voter:
		refuse("node %s has no voting member of etcd: join or promote it first", n.Name)
	case !n.Healthy:
		refuse("the member of %s is not healthy (%s): bring it back first, see `ceo status`", n.Name, n.Why)
	case !supported(n.Version):
		refuse("etcd %s on %s is not supported: 3.5, 3.6 and 3.7 are", n.Version, n.Name)
	}
}

func supported(version string) bool {
	return slices.ContainsFunc([]string{"3.5.", "3.6.", "3.7."}, func(v string) bool { return strings.HasPrefix(version, v) })
}

// spec is what runs; where the nodes differ there is no such thing, and nothing is guessed.
func spec(nodes []Node, refuse func(string, ...any)) Spec {
	s := Spec{Profile: "Standard"}
	if len(nodes) == 0 {
		return s
	}
	first := nodes[0]
	for _, n := range nodes {
		if !n.Agent || !n.Healthy {
			return s // said already
		}
		if n.Version != first.Version {
			refuse("%s runs etcd %s and %s runs %s: finish the upgrade first", first.Name, first.Version, n.Name, n.Version)
		}
		if n.Quota != first.Quota || n.Heartbeat != first.Heartbeat || n.Election != first.Election {
			refuse("%s and %s run etcd with another quota, heartbeat or election time-out (%d, %d, %d and %d, %d, %d): make them the same first",
				first.Name, n.Name, first.Quota, first.Heartbeat, first.Election, n.Quota, n.Heartbeat, n.Election)
		}
	}
	if first.Quota <= 0 {
		refuse("the quota of etcd on %s is not known: is its metrics port open?", first.Name)
	}
	s.Quota = size(first.Quota)
	switch {
	case first.Heartbeat == 100 && first.Election == 1000:
	case first.Heartbeat == 500 && first.Election == 5000:
		s.Profile = "Slow"
	default:
		s.Profile, s.Heartbeat, s.Election = "Custom", first.Heartbeat, first.Election
	}
	return s
}

// size in the largest unit that loses nothing.
func size(b int64) string {
	for _, u := range []struct {
		unit string
		of   int64
	}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if b > 0 && b%u.of == 0 {
			return strconv.FormatInt(b/u.of, 10) + u.unit
		}
	}
	return strconv.FormatInt((b+1023)/1024, 10) + "Ki"
}

func leads(nodes []Node, name string) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == name && n.Leader })
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// String is the plan for a person.
func (p Plan) String() string {
	var b strings.Builder
	if p.Done {
		return fmt.Sprintf("%s is adopted: nothing to do\n", p.Cluster)
	}
	for _, r := range p.Refused {
		fmt.Fprintf(&b, "Refused    %s\n", r)
	}
	i := 0
	step := func(format string, args ...any) {
		i++
		fmt.Fprintf(&b, "%2d  %s\n", i, fmt.Sprintf(format, args...))
	}
	for _, n := range p.Guard {
		step("%s  put etcd under the guard: it restarts once, under the lock; kubeadm's manifest comes back if it does not", n)
	}
	if p.Makes {
		timing := p.Spec.Profile
		if p.Spec.Heartbeat > 0 {
			timing = fmt.Sprintf("heartbeat %d ms, election %d ms", p.Spec.Heartbeat, p.Spec.Election)
		}
		step("EtcdCluster cluster: quota %s, timing %s, the etcd that runs; Managed", p.Spec.Quota, timing)
	} else {
		step("EtcdCluster cluster: Managed; the rest of its spec stays as it is")
	}
	return b.String()
}
