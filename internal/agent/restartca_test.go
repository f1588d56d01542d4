package agent

import (
	"testing"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

// What has read the bundle is not restarted again (I20), and neither is what could not be asked (I23).
func TestNeedsRestart(t *testing.T) {
	both, one := []string{"old", "new"}, []string{"new"}
	for _, row := range []struct {
		what  string
		step  string
		state *agentpb.CAState
		want  bool
		fails bool
	}{
		{"no change was begun", stepRestartEtcd, nil, false, true},
		{"the files could not be read", stepRestartEtcd, &agentpb.CAState{Error: "no"}, false, true},
		{"etcd could not be asked", stepRestartEtcd, &agentpb.CAState{Trusted: both, EtcdError: "refused"}, false, true},
		{"etcd trusts the old one alone", stepRestartEtcd, &agentpb.CAState{Trusted: both, EtcdTrusts: []string{"old"}}, true, false},
		{"etcd trusts both, in another order", stepRestartEtcd, &agentpb.CAState{Trusted: both, EtcdTrusts: []string{"new", "old"}}, false, false},
		{"etcd trusts both still", stepRestartEtcd, &agentpb.CAState{Trusted: one, EtcdTrusts: both}, true, false},
		{"kube-apiserver is not known", stepRestartAPIServer, &agentpb.CAState{ApiServerError: "no runtime"}, false, true},
		{"kube-apiserver is stale", stepRestartAPIServer, &agentpb.CAState{ApiServerStale: true, EtcdError: "refused"}, true, false},
		{"kube-apiserver has read it", stepRestartAPIServer, &agentpb.CAState{}, false, false},
	} {
		if got, err := needsRestart(row.step, row.state); got != row.want || err != nil != row.fails {
			t.Errorf("%s: %v %v", row.what, got, err)
		}
	}
}
