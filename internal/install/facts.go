// Package install puts ceo on a control-plane node of a running kubeadm cluster and takes it away again. It is the usual
// three steps: gather what is there, decide (pure, with reasons), apply; a dry run prints what a run would do.
package install

import (
	"fmt"
	"strings"

	"clusteretcd.io/ceo/internal/etcd"
)

// Facts is everything that the decision is made of.
type Facts struct {
	Node  string
	Image string
	// ImagePresent: the container runtime on this node has it. A static pod whose image is missing does not start.
	ImagePresent bool

	// Guarded: the live etcd manifest has the guard. EtcdCurrent: it is what would be written.
	Guarded, EtcdCurrent bool
	// ServersChanged: kube-apiserver has a list of etcd servers that ceo gave it.
	ServersChanged bool
	// KubeadmSaved: kubeadm's own manifest is kept. KubeadmCurrent: it is the live one, if that is kubeadm's.
	KubeadmSaved, KubeadmCurrent bool
	AgentPlaced, AgentCurrent    bool
	ConfigCurrent                bool
	// AgentCert, AdminCert and OperatorCert say why a pair is to be issued, "" if the one on disk will do.
	AgentCert, AdminCert, OperatorCert string

	// Expired are etcd's certificates on this node that are not valid any more.
	Expired []string

	// Busy says what must not be disturbed: a hold, a recovery. Empty for nothing.
	Busy string

	Self    uint64
	Leader  uint64
	Members []etcd.Member
	// Why a member is not healthy, by its id.
	Why map[uint64]string
}

func (f Facts) self() (etcd.Member, bool) {
	for _, m := range f.Members {
		if m.ID == f.Self {
			return m, true
		}
	}
	return etcd.Member{}, false
}

// RefusedError is a step that would be unsafe.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// ExitCode is "refused as unsafe".
func (*RefusedError) ExitCode() int { return 4 }

// RiskDowntime is the named risk of stopping the one voter, or one of two, for the seconds of a restart.
const RiskDowntime = "downtime"

// mayRestart says whether this node's etcd may be restarted now (I6).
func mayRestart(f Facts, acceptDowntime bool) error {
	if len(f.Expired) > 0 {
		return &RefusedError{fmt.Sprintf("expired: %s: run `kubeadm certs renew all` first (P9)", strings.Join(f.Expired, ", "))}
	}
	verdict := etcd.CanLoseVoter(etcd.View{Members: f.Members}, f.Self)
	if verdict.OK {
		return nil
	}
	voters, healthy := 0, 0
	for _, m := range f.Members {
		if m.Voter() {
			voters++
			if m.Health == etcd.Healthy {
				healthy++
			}
		}
	}
	if voters <= 2 && healthy == voters {
		if acceptDowntime {
			return nil
		}
		return &RefusedError{fmt.Sprintf("etcd has %d voter(s): its restart stops the API for some seconds. Say --accept-risk=%s if that may be", voters, RiskDowntime)}
	}
	reason := verdict.Reason
	for _, m := range f.Members {
		if m.ID != f.Self && m.Health != etcd.Healthy {
			reason += fmt.Sprintf("; %s (%x): %s", m.Name, m.ID, f.Why[m.ID])
		}
	}
	return &RefusedError{reason + ". Bring the others back first: `ceo status`"}
}
