package install

import (
	"fmt"
	"strings"

	"clusteretcd.io/ceo/internal/etcd"
)

// Step is one thing to do, with what it is for.
type Step struct {
	Do   Action
	Text string
}

// Action names what a step does.
type Action int

// The actions, in the order in which they are done.
const (
	IssueAgentCert Action = iota
	IssueAdminCert
	IssueOperatorCert
	WriteConfig
	SaveKubeadm
	PlaceAgent
	MoveLeader
	RestartEtcd
	RemoveAgent
	PutServersBack
)

// Plan is what will be done; no step is nothing to do.
type Plan struct{ Steps []Step }

// Restarts reports whether etcd on this node will be restarted.
func (p Plan) Restarts() bool {
	for _, s := range p.Steps {
		if s.Do == RestartEtcd {
			return true
		}
	}
	return false
}

func (p Plan) String() string {
	if len(p.Steps) == 0 {
		return "nothing to do\n"
	}
	var b strings.Builder
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%2d  %s\n", i+1, s.Text)
	}
	return b.String()
}

func (p *Plan) add(do Action, format string, args ...any) {
	p.Steps = append(p.Steps, Step{do, fmt.Sprintf(format, args...)})
}

// DecideInstall says what an installation has to do on this node.
func DecideInstall(f Facts, acceptDowntime bool) (Plan, error) {
	var p Plan
	if f.Busy != "" {
		return p, &RefusedError{f.Busy}
	}
	if _, ok := f.self(); !ok {
		return p, fmt.Errorf("the member of node %s is not in etcd's member list: nothing is installed on a node that is no part of the cluster", f.Node)
	}
	if !f.ImagePresent && (!f.AgentCurrent || !f.EtcdCurrent) {
		return p, fmt.Errorf("image %s is not on this node: load it first (`ctr -n k8s.io images import ceo.tar` or `crictl pull %s`), or name another with --image", f.Image, f.Image)
	}
	if f.Guarded && !f.KubeadmSaved {
		return p, fmt.Errorf("etcd is guarded but kubeadm's own manifest is not kept: put it back (`kubeadm init phase etcd local` into another folder), then run this again")
	}
	if f.AgentCert != "" {
		p.add(IssueAgentCert, "issue the agent's certificate: %s", f.AgentCert)
	}
	if f.AdminCert != "" {
		p.add(IssueAdminCert, "issue the admin's certificate: %s", f.AdminCert)
	}
	if f.OperatorCert != "" {
		p.add(IssueOperatorCert, "issue the operator's certificate: %s", f.OperatorCert)
	}
	if !f.ConfigCurrent {
		p.add(WriteConfig, "write what this node knows of itself and its peers")
	}
	if !f.Guarded && !f.KubeadmCurrent {
		p.add(SaveKubeadm, "keep kubeadm's etcd manifest byte for byte")
	}
	switch {
	case !f.AgentPlaced:
		p.add(PlaceAgent, "place the agent's static pod and wait for it")
	case !f.AgentCurrent:
		p.add(PlaceAgent, "replace the agent's static pod and wait for it")
	}
	if !f.EtcdCurrent {
		if err := mayRestart(f, acceptDowntime); err != nil {
			return Plan{}, err
		}
		p.moveLeader(f)
		p.add(RestartEtcd, "restart etcd under the guard and wait until it has caught up; put the manifest of before back if it does not")
	}
	return p, nil
}

// DecideUninstall says what has to be done to give the node back to kubeadm alone.
func DecideUninstall(f Facts, acceptDowntime bool) (Plan, error) {
	var p Plan
	if f.Busy != "" {
		return p, &RefusedError{f.Busy}
	}
	if f.Guarded {
		if !f.KubeadmSaved {
			return p, fmt.Errorf("kubeadm's own etcd manifest is not kept on this node: nothing to put back")
		}
		m, ok := f.self()
		if !ok || m.Health != etcd.Healthy {
			// P25: kubeadm's manifest on an empty or foreign data dir makes a new cluster.
			return p, &RefusedError{fmt.Sprintf("etcd on %s is not healthy (%s): without the guard nothing would keep it from starting on wrong data", f.Node, f.Why[f.Self])}
		}
		if err := mayRestart(f, acceptDowntime); err != nil {
			return Plan{}, err
		}
		p.moveLeader(f)
		p.add(RestartEtcd, "put kubeadm's own etcd manifest back and wait until etcd has caught up")
	}
	if f.AgentPlaced {
		p.add(RemoveAgent, "remove the agent's static pod")
	}
	if f.ServersChanged {
		// Last: as long as the agent is there, the operator may have it changed again.
		p.add(PutServersBack, "put kube-apiserver's --etcd-servers back to what kubeadm had, and wait for it")
	}
	return p, nil
}

// moveLeader hands the leadership over first: the others then need no election, and writes wait for less.
func (p *Plan) moveLeader(f Facts) {
	if f.Leader != f.Self {
		return
	}
	for _, m := range f.Members {
		if m.ID != f.Self && m.Voter() && m.Health == etcd.Healthy {
			p.add(MoveLeader, "hand the leadership over")
			return
		}
	}
}
