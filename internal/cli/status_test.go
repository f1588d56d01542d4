package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cli/ui"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/node"
)

func showStatus(t *testing.T, p node.Paths, f Format) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	err := Status(ctx, Streams{Out: &out, Err: &out, Name: "ceo"}, StatusOptions{Target: Target{Paths: p}, Format: f})
	return out.String(), err
}

func TestStatusAsksTheAgent(t *testing.T) {
	s := newScripted(t)
	s.nodes = []*agentpb.NodeState{{Name: "cp-1", PeerUrl: "https://10.0.0.1:2380", Etcd: &agentpb.Etcd{
		Answers: true, HasLeader: true, MemberId: "1", LeaderId: "1", ClusterId: "c", MembersLinearizable: true, Members: []*agentpb.Member{{Id: "1", Name: "cp-1"}},
	}, ApiServer: &agentpb.APIServer{Ready: true}}}
	if out, err := showStatus(t, s.paths, Text); err != nil || !strings.Contains(out, "prod  ✔ healthy  1/1 voters") {
		t.Errorf("%v\n%s", err, out)
	}
	s.nodes[0].Etcd.Members = append(s.nodes[0].GetEtcd().GetMembers(), &agentpb.Member{Id: "2", Name: "cp-2"})
	s.nodes = append(s.nodes, &agentpb.NodeState{Name: "cp-2", Unreachable: "its agent did not answer in time"})
	out, err := showStatus(t, s.paths, JSON)
	var v ui.View
	if jerr := json.Unmarshal([]byte(out), &v); jerr != nil || CodeOf(err) != ExitNotHealthy || v.Verdict != ui.Degraded {
		t.Errorf("%v %v\n%s", err, jerr, out)
	}
}

// A dead agent still leaves a useful screen: what lies on the node is read.
func TestStatusWithoutTheAgent(t *testing.T) {
	s := newScripted(t)
	s.stop()
	p := s.paths
	if err := os.MkdirAll(p.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	c := node.Config{
		Name: "cp-1", ClusterName: "prod", Address: "127.0.0.1", PeerURL: "https://127.0.0.1:2380", ClientURL: "https://127.0.0.1:2379", DataDir: p.Root + "/var/lib/etcd",
		Peers: []node.Peer{{Name: "cp-2", Address: "127.0.0.2"}}, Lineage: node.Lineage{{Epoch: 0, ClusterID: "abc"}},
	}
	if err := node.Save(p, c); err != nil {
		t.Fatal(err)
	}
	st := guard.Status{Decision: guard.Decided{Decision: guard.Decision{Answer: guard.Wait, Reason: "no peer answers"}}}
	if err := durable.WriteJSON(p.GuardStatus(), st, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := showStatus(t, p, Text)
	if CodeOf(err) != ExitNotHealthy {
		t.Errorf("exit %d: %v", CodeOf(err), err)
	}
	for _, want := range []string{"prod  ✗ NO QUORUM", "the agent on cp-1 does not answer", "data lost", "no peer answers", "cp-2", "unreachable", "crictl ps -a --name ceo-agent"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestStatusWhereNothingIsInstalled(t *testing.T) {
	out, err := showStatus(t, node.Paths{Root: t.TempDir()}, Text)
	if err == nil || CodeOf(err) == ExitOK || !strings.Contains(err.Error(), "ceo node install") {
		t.Errorf("%v\n%s", err, out)
	}
}
