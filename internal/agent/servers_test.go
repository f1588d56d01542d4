package agent

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

// What the agent refuses of a list by itself, whatever the operator thinks.
func TestDecideServers(t *testing.T) {
	const own, b, c = "https://127.0.0.1:2379", "https://b:1", "https://c:1"
	ok, down := serverAnswer{cluster: "1", quorum: true}, serverAnswer{err: errors.New("connection refused")}
	for _, row := range []struct {
		name     string
		was      []string
		servers  []string
		answers  []serverAnswer
		refusals string
	}{
		{"all answer", []string{own}, []string{own, b, c}, []serverAnswer{ok, ok, ok}, ""},
		{"I3: one is of another cluster", []string{own}, []string{own, b}, []serverAnswer{ok, {cluster: "2", quorum: true}}, "would read both"},
		{"I3: also one that was there before", []string{own, b, c}, []string{own, b}, []serverAnswer{ok, {cluster: "2"}}, "would read both"},
		{"I3: also the first", []string{b}, []string{own}, []serverAnswer{{cluster: "2", quorum: true}}, "would read both"},
		{"the first does not answer", []string{own}, []string{own, b}, []serverAnswer{down, ok}, "would be the first"},
		{"the first has no quorum", []string{own}, []string{own, b}, []serverAnswer{{cluster: "1"}, ok}, "no quorum"},
		{"a new one does not answer", []string{own}, []string{own, b}, []serverAnswer{ok, down}, "would be new"},
		{"I23: one that was there is silent, and stays", []string{own, b}, []string{own, b, c}, []serverAnswer{ok, down, ok}, ""},
	} {
		if got := decideServers(row.answers, row.was, row.servers, "1"); (got == "") != (row.refusals == "") || !strings.Contains(got, row.refusals) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}

func TestMayRestartAPIServer(t *testing.T) {
	api := func(name string, a *agentpb.APIServer) *agentpb.NodeState {
		return &agentpb.NodeState{Name: name, ApiServer: a, Manifests: []*agentpb.Manifest{{Name: "kube-apiserver", State: "in-service"}}}
	}
	ready, not := &agentpb.APIServer{Ready: true}, &agentpb.APIServer{}
	restarting := &agentpb.APIServer{Ready: true, Etcd: &agentpb.EtcdServers{Restarting: true}}
	recovering := api("b", ready)
	recovering.Recovery = &agentpb.Recovery{Id: "r"}
	for _, row := range []struct {
		name  string
		own   bool
		peers []*agentpb.NodeState
		may   bool
	}{
		{"the only node", true, nil, true},
		{"the others serve", true, []*agentpb.NodeState{api("b", ready), api("c", ready)}, true},
		{"another does not", true, []*agentpb.NodeState{api("b", ready), api("c", not)}, false},
		{"another does not, and neither does this one", false, []*agentpb.NodeState{api("b", ready), api("c", not)}, true},
		{"another is being restarted", false, []*agentpb.NodeState{api("b", ready), api("c", restarting)}, false},
		{"I23: one is not seen, the other serves", true, []*agentpb.NodeState{api("b", ready), nil}, true},
		{"I23: none is seen: this may be the last", true, []*agentpb.NodeState{nil, nil}, false},
		{"none is seen, and this one does not serve", false, []*agentpb.NodeState{nil, nil}, true},
		{"one without kube-apiserver does not count", true, []*agentpb.NodeState{{Name: "b", ApiServer: ready}}, false},
		{"P17: a recovery is open", true, []*agentpb.NodeState{recovering, api("c", ready)}, false},
	} {
		if why := mayRestartAPIServer(row.own, row.peers); (why == "") != row.may {
			t.Errorf("%s: %q", row.name, why)
		}
	}
}

// By which URLs kube-apiserver may reach the etcd beside it: where that listens, as far as the certificate has the name.
func TestLocalServers(t *testing.T) {
	raw, err := os.ReadFile("../staticpod/testdata/etcd-guarded.golden")
	if err != nil {
		t.Fatal(err)
	}
	const client = "https://10.90.0.11:2379"
	wild := []byte(strings.ReplaceAll(string(raw), "--listen-client-urls=https://127.0.0.1:2379,https://10.90.0.11:2379", "--listen-client-urls=https://0.0.0.0:2379"))
	if string(wild) == string(raw) {
		t.Fatal("the golden file has changed")
	}
	far := []byte(strings.ReplaceAll(string(raw), "https://127.0.0.1:2379,", ""))
	for _, row := range []struct {
		name string
		etcd []byte
		want []string
	}{
		{"as kubeadm has it", raw, []string{"https://127.0.0.1:2379", client}},
		{"at all addresses", wild, []string{"https://127.0.0.1:2379", client}},
		{"not on loopback", far, []string{client}},
		{"no manifest", nil, []string{client}},
	} {
		if got := localServers(row.etcd, nil, client); !slices.Equal(got, row.want) {
			t.Errorf("%s: %v", row.name, got)
		}
	}
	if got := localServers(raw, certificateOf(t, "10.90.0.11"), client); !slices.Equal(got, []string{client}) {
		t.Errorf("a certificate without loopback: %v", got)
	}
	if got := localServers(raw, certificateOf(t, "10.90.0.11", "127.0.0.1"), client); !slices.Equal(got, []string{"https://127.0.0.1:2379", client}) {
		t.Errorf("a certificate with both: %v", got)
	}
}
