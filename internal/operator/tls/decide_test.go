package tls

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/pki/rotation"
)

var names = []string{"cp-1", "cp-2", "cp-3"}

// three healthy nodes; cp-1 leads. ca is nil where no change was begun.
func three(reason string, ca func() *agentpb.CAState) View {
	v := View{Observation: observe.Observation{Cluster: &v1alpha1.EtcdCluster{}}}
	v.Cluster.Spec.TLS.CARotationReason = reason
	var ms []*agentpb.Member
	for i, n := range names {
		ms = append(ms, &agentpb.Member{Id: string(rune('a' + i)), Name: n, PeerUrls: []string{"https://" + n + ":2380"}})
	}
	for i, n := range names {
		s := &agentpb.NodeState{
			Name: n, ApiServer: &agentpb.APIServer{Ready: true}, Manifests: []*agentpb.Manifest{{Name: "kube-apiserver", State: "in-service"}},
			Etcd: &agentpb.Etcd{Answers: true, HasLeader: true, MemberId: ms[i].Id, LeaderId: "a", ClusterId: "c", Members: ms, MembersLinearizable: true},
		}
		if ca != nil {
			s.Ca = ca()
		}
		v.Nodes = append(v.Nodes, observe.Node{Name: n, Address: n, Wanted: true, State: s})
	}
	return v
}

func state(reason, signing string, etcd []string, trusted ...string) func() *agentpb.CAState {
	return func() *agentpb.CAState {
		return &agentpb.CAState{Trusted: trusted, Signing: signing, Target: "new", Reason: reason, EtcdTrusts: etcd}
	}
}

// Each row is a look, and what is done about it.
func TestDecide(t *testing.T) {
	old, both, alone := []string{"old"}, []string{"old", "new"}, []string{"new"}
	finished := state("r", "new", alone, "new")
	trusting := state("r", "old", old, "old", "new")
	for _, row := range []struct {
		what   string
		view   View
		change func(*View)
		want   rotation.Kind // "" for not active
		node   string
		reason string
		check  func(Plan) bool
	}{
		{"nobody asks", three("", nil), nil, "", "", "", nil},
		{"asked for: a CA is made", three("r", nil), nil, rotation.Trust, "cp-1", "a new CA is made", func(p Plan) bool { return p.Make && p.For == "r" && p.Acts() }},
		{"and trusted", three("r", nil), func(v *View) { v.Made = "new" }, rotation.Trust, "cp-1", "", func(p Plan) bool { return !p.Make && p.Action.CA == "new" }},
		{"trusted everywhere: the followers first", three("r", trusting), nil, rotation.RestartEtcd, "cp-2", "", func(p Plan) bool { return p.MoveTo == 0 && p.Restarts() }},
		{"then the leader hands over (I6)", three("r", trusting), func(v *View) {
			v.Nodes[1].State.Ca.EtcdTrusts, v.Nodes[2].State.Ca.EtcdTrusts = both, both
		}, rotation.RestartEtcd, "cp-1", "handed", func(p Plan) bool { return p.MoveTo != 0 }},
		{"a roll-out goes first", three("r", trusting), func(v *View) { v.RollOut = "cp-2 is waited for" }, rotation.Wait, "cp-2", "roll-out goes first", nil},
		{"a member is down (I6)", three("r", trusting), func(v *View) {
			v.Nodes[2].State.Etcd = &agentpb.Etcd{Error: "connection refused"}
		}, rotation.Wait, "cp-2", "has to be healthy", nil},
		{"another one restarts (P22)", three("r", trusting), func(v *View) {
			v.Nodes[2].State.Revisions = &agentpb.Revisions{Placed: "b", Running: "a"}
		}, rotation.Wait, "cp-2", "own restart", nil},
		{"a kube-apiserver is not back", three("r", trusting), func(v *View) { v.Nodes[2].State.ApiServer.Ready = false }, rotation.Wait, "cp-2", "kube-apiserver on cp-3", nil},
		{"one is dark (I23)", three("r", trusting), func(v *View) { v.Nodes[2].Err = "its agent does not answer" }, rotation.Wait, "", "cannot be looked at", nil},
		{"one is dark before it begins (I23)", three("r", nil), func(v *View) { v.Nodes[2].State = nil }, rotation.Wait, "", "cannot be looked at", func(p Plan) bool { return !p.Make }},
		{"a recovery is open (P17)", three("r", nil), func(v *View) { v.Nodes[0].State.Recovery = &agentpb.Recovery{Id: "x"} }, rotation.Wait, "cp-1", "recovery x", func(p Plan) bool { return !p.Make }},
		{"unmanaged", three("r", trusting), func(v *View) { v.Cluster.Spec.ManagementState = v1alpha1.Unmanaged }, rotation.Wait, "cp-2", "Unmanaged", nil},
		{"over", three("r", finished), nil, "", "", "", func(p Plan) bool { return p.For == "r" && p.Action.Kind == rotation.Done }},
		{"over, and the EtcdCluster was made anew (I20)", three("r", finished), func(v *View) { v.Cluster.Status = v1alpha1.EtcdClusterStatus{} }, "", "", "", nil},
		{"over, and a node has joined since", three("r", finished), func(v *View) { v.Nodes[2].State.Ca = nil }, "", "", "", nil},
		{"over, and one is dark", three("r", finished), func(v *View) { v.Nodes[2].Err = "its agent does not answer" }, "", "", "", nil},
		{"another reason", three("again", finished), nil, rotation.Trust, "cp-1", "a new CA is made", func(p Plan) bool { return p.Make && p.For == "again" }},
		{"the reason is taken back half-way: it goes on", three("", state("r", "new", both, "new", "old")), nil, rotation.Forget, "cp-1", "", func(p Plan) bool { return p.For == "r" }},
		{"a new operator, and one node alone was told: another CA", three("r", nil), func(v *View) {
			v.Nodes[0].State.Ca = trusting()
		}, rotation.Trust, "cp-1", "a new CA is made", func(p Plan) bool { return p.Make }},
	} {
		if row.change != nil {
			row.change(&row.view)
		}
		p := Decide(row.view)
		ok := p.Active == (row.want != "") && strings.Contains(p.Action.Reason, row.reason)
		if row.want != "" {
			ok = ok && p.Action.Kind == row.want && p.Action.Node == row.node && p.Acts() == (row.want != rotation.Wait)
		}
		if row.check != nil {
			ok = ok && row.check(p)
		}
		if !ok {
			t.Errorf("%s: %+v", row.what, p)
		}
		r := p.Report(nil)
		if p.Active && (r.Progressing == nil || r.Upgradeable == nil || r.CARotation == nil || r.Progressing.Waits == p.Acts()) || !p.Active && r.Progressing != nil {
			t.Errorf("%s: reports %+v", row.what, r)
		}
	}
}
