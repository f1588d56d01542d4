package install

import (
	"fmt"
	"net"
	"slices"

	"clusteretcd.io/ceo/internal/etcd/upgrade"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

// JoinFacts is what is known of a node that kubeadm has joined to a cluster whose etcd it takes for an external one.
type JoinFacts struct {
	Node, Image string
	// Placed: etcd's manifest is in the kubelet's folder; Stopped: a recovery has taken it out of service.
	Placed, Stopped bool
	// APIServer: kubeadm's manifest of kube-apiserver is there. Servers are its --etcd-servers, Address where it is reached.
	APIServer bool
	Servers   []string
	Address   string
	// CA: etcd's CA is there with its key.
	CA           bool
	ImagePresent bool
	// Ran: a guard has run on this node before.
	Ran bool

	// Asked: etcd and the agents were. Nothing below is known before.
	Asked bool
	// ClusterID is that of etcd's, by a list that a quorum confirms; "" where none was had, for the reason Silent.
	ClusterID, Silent string
	// Members that have started, but for one of this node's name; that there is one is Own.
	Members []node.Peer
	Own     bool
	// Agents of those that answered, and why the others did not.
	Agents []JoinAgent
	Dark   []string
}

// JoinAgent is what a member's agent says.
type JoinAgent struct {
	Name string
	// ClusterID is the one that lives now, by what it knows of the epochs.
	ClusterID   string
	ClusterName string
	// Image of etcd and its version, by its manifest.
	Image, Version string
	// Peers that it knows, members or not.
	Peers []node.Peer
}

// JoinVerb is what to do about etcd on a node without a manifest of it.
type JoinVerb int

// The verbs. Not every node without etcd is one of ours.
const (
	// JoinNothing: no etcd belongs here, or it is there.
	JoinNothing JoinVerb = iota
	// JoinWait: something else has to happen first.
	JoinWait
	// JoinAsk: etcd and the agents have to be asked.
	JoinAsk
	// JoinRender: etcd's manifest and all that it needs is written. Its guard waits until the node is added.
	JoinRender
)

// JoinDecision has its reason.
type JoinDecision struct {
	Do  JoinVerb
	Why string
	// Image of etcd, the cluster's name and this node's peers, for JoinRender.
	EtcdImage, ClusterName string
	Peers                  []node.Peer
}

// DecideJoin says whether this node is to get its etcd. Writing it is safe whatever lies in the data dir: the guard has no
// permission to begin a cluster, and waits until the node is added (P25). What has to be certain is whose etcd this is: a
// cluster that somebody else runs beside Kubernetes gets no member from here.
func DecideJoin(f JoinFacts) JoinDecision {
	wait := func(format string, args ...any) JoinDecision {
		return JoinDecision{Do: JoinWait, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case f.Placed:
		return JoinDecision{Why: "etcd's manifest is in place"}
	case f.Stopped:
		return JoinDecision{Why: "etcd's manifest was taken out of service: a recovery puts it back"}
	case !f.APIServer:
		return JoinDecision{Why: "kubeadm has put no control plane on this node"}
	case !staticpod.Elsewhere(f.Servers, f.Address):
		return JoinDecision{Why: fmt.Sprintf("kube-apiserver asks this node's own etcd alone (%v): kubeadm makes that one", f.Servers)}
	case net.ParseIP(f.Address) == nil:
		return wait("kube-apiserver's --advertise-address %q is no IP address: etcd could not be told where to listen", f.Address)
	case !f.CA:
		return wait("etcd's CA is not on this node, or its key is not: copy ca.crt and ca.key in /etc/kubernetes/pki/etcd from another control-plane node, as root")
	case !f.ImagePresent:
		return wait("image %s is not on this node", f.Image)
	case !f.Asked:
		return JoinDecision{Do: JoinAsk}
	case f.ClusterID == "":
		return wait("no etcd gave its members with a quorum's consent: %s", f.Silent)
	case f.Ran && f.Own:
		// Whoever takes a manifest away to stop etcd does not want it back from here.
		return wait("etcd ran here and is a member, and somebody has taken its manifest away: put it back, or remove the member and /var/lib/ceo/guard.json for a new one")
	}
	return decideAsked(f, wait)
}

func decideAsked(f JoinFacts, wait func(string, ...any) JoinDecision) JoinDecision {
	d := JoinDecision{Do: JoinRender, Peers: slices.Clone(f.Members)}
	var version upgrade.Version
	for _, a := range f.Agents {
		if a.ClusterID != f.ClusterID {
			// Also an agent that does not know yet which cluster lives.
			f.Dark = append(f.Dark, fmt.Sprintf("%s knows of cluster %q, and etcd is %s", a.Name, a.ClusterID, f.ClusterID))
			continue
		}
		d.ClusterName = a.ClusterName
		for _, p := range a.Peers {
			known := func(q node.Peer) bool { return q.Name == p.Name || q.Address == p.Address }
			if p.Name != f.Node && p.Address != f.Address && !slices.ContainsFunc(d.Peers, known) {
				d.Peers = append(d.Peers, p)
			}
		}
		// The oldest that is seen: etcd refuses a member that is older than all, and a roll-out brings this one up.
		v, err := upgrade.Parse(a.Version)
		if err == nil && a.Image != "" && (d.EtcdImage == "" || v.Less(version)) {
			d.EtcdImage, version = a.Image, v
		}
	}
	if d.ClusterName == "" {
		return wait("no agent of a member says that etcd at %v is the cluster of ceo: %v. A cluster that is run in another way gets no member from here", f.Servers, f.Dark)
	}
	if d.EtcdImage == "" {
		return wait("no agent names an image of etcd whose version can be read")
	}
	d.Why = fmt.Sprintf("kubeadm has joined this node to a cluster whose etcd it does not make; the guard waits until the operator adds %s", f.Node)
	return d
}
