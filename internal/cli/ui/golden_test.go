package ui

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // a test's own file
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(got)) {
		t.Errorf("%s (after a wanted change: go test ./internal/cli/ui -update)\n--- want\n%s\n--- got\n%s", path, want, got)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

var now = time.Date(2026, 11, 22, 14, 6, 0, 0, time.UTC)

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d)) }

const (
	cluster = "c1a9d7f0b3e25486"
	id1     = "8e9e05c52164694d"
	id2     = "91bc3c398fb3c146"
	id3     = "fd422379fda50e48"
)

func three() []*agentpb.Member {
	return []*agentpb.Member{
		{Id: id1, Name: "cp-1", PeerUrls: []string{"https://10.0.0.11:2380"}},
		{Id: id2, Name: "cp-2", PeerUrls: []string{"https://10.0.0.12:2380"}},
		{Id: id3, Name: "cp-3", PeerUrls: []string{"https://10.0.0.13:2380"}},
	}
}

// serving is a node on which all is well.
func serving(name, id, last string) *agentpb.NodeState {
	return &agentpb.NodeState{
		Name: name, Address: "10.0.0." + last, PeerUrl: "https://10.0.0." + last + ":2380", ClientUrl: "https://10.0.0." + last + ":2379",
		CeoVersion: "v0.1.0", EtcdVersion: "3.7.3",
		Lineage: []*agentpb.Generation{{Epoch: 0, ClusterId: cluster}},
		DataDir: &agentpb.DataDir{Path: "/var/lib/etcd", State: "present", ClusterId: cluster, MemberId: id, Members: three()},
		Guard:   &agentpb.Guard{Installed: true, State: "running", Answer: "Start", Reason: "member " + id + " is listed by cluster " + cluster + " (epoch 0): etcd starts with its data as it is"},
		Etcd: &agentpb.Etcd{
			Answers: true, HasLeader: true, MemberId: id, ClusterId: cluster, LeaderId: id1, Version: "3.7.3", DbSize: 412_000_000, DbInUse: 251_320_000,
			RaftIndex: 1183402, RaftAppliedIndex: 1183402, RaftTerm: 7, Revision: 918334, Members: three(), MembersLinearizable: true,
		},
		ApiServer: &agentpb.APIServer{Ready: true}, Disk: &agentpb.Disk{Free: 60e9, Total: 100e9}, Kubelet: &agentpb.KubeletState{State: "active"},
		Certificates: []*agentpb.Certificate{{Path: "/etc/kubernetes/pki/etcd/peer.crt", NotAfter: at(200 * 24 * time.Hour)}},
	}
}

func observation(nodes ...*agentpb.NodeState) *agentpb.Observation {
	return &agentpb.Observation{ClusterName: "prod", Coordinator: "cp-1", Nodes: nodes, At: at(0)}
}

func dark(name, last, why string) *agentpb.NodeState {
	return &agentpb.NodeState{Name: name, Address: "10.0.0." + last, PeerUrl: "https://10.0.0." + last + ":2380", Unreachable: why}
}

// stopped is a node whose etcd does not run.
func stopped(n *agentpb.NodeState, data, guard, answer, reason string) *agentpb.NodeState {
	n.Etcd = &agentpb.Etcd{Error: "etcd does not listen: connection refused"}
	n.DataDir = &agentpb.DataDir{Path: "/var/lib/etcd", State: data}
	if data == "present" {
		n.DataDir.ClusterId, n.DataDir.Members = cluster, three()
	}
	n.Guard = &agentpb.Guard{Installed: true, State: guard, Answer: answer, Reason: reason}
	n.ApiServer = &agentpb.APIServer{Error: "connection refused"}
	return n
}

func healthyThree() *agentpb.Observation {
	lagging := serving("cp-3", id3, "13")
	lagging.Etcd.RaftIndex, lagging.Etcd.RaftAppliedIndex = 1183398, 1183398
	return observation(serving("cp-1", id1, "11"), serving("cp-2", id2, "12"), lagging)
}

func noQuorum() *agentpb.Observation {
	one := serving("cp-1", id1, "11")
	one.Etcd.HasLeader, one.Etcd.LeaderId, one.Etcd.MembersLinearizable = false, "0", false
	one.Etcd.Alarms = []string{"etcdserver: no leader"}
	one.ApiServer = &agentpb.APIServer{Error: "readyz answers 500"}
	one.Certificates = append(one.Certificates, &agentpb.Certificate{Path: "/etc/kubernetes/pki/etcd/server.crt", NotAfter: at(12 * 24 * time.Hour)})
	three := stopped(serving("cp-3", id3, "13"), "none", "refused", "Refuse", "the data of member "+id3+" is gone, and it must not start anew under its old id: remove the member and add it again")
	return observation(one, dark("cp-2", "12", "its agent did not answer in time"), three)
}

// disaster is the demo's: two without power, the third's data destroyed.
func disaster() *agentpb.Observation {
	one := stopped(serving("cp-1", id1, "11"), "none", "waiting", "Wait", "no data lies here and no peer answers: nothing may be started")
	return observation(one, dark("cp-2", "12", "its agent does not answer: transport: Error while dialing: dial tcp 10.0.0.12:2382: i/o timeout"), dark("cp-3", "13", "its agent does not answer: no route to host"))
}

func waiting() *agentpb.Observation {
	ob := healthyThree()
	for _, n := range ob.GetNodes() {
		n.Etcd.Members = n.GetEtcd().GetMembers()[:2]
		n.DataDir.Members = n.GetDataDir().GetMembers()[:2]
	}
	stopped(ob.GetNodes()[2], "none", "waiting", "Wait", "no data lies here, and cluster "+cluster+" (epoch 0) does not list this node: it waits to be added")
	ob.Nodes[2].Archive = []*agentpb.ArchiveEntry{{Id: "a", Reason: "removed", At: at(-3 * time.Hour), Path: "/var/lib/etcd/.ceo/archive/a"}}
	return ob
}

func restoring(state, step, problem string) *agentpb.Observation {
	one := stopped(serving("cp-1", id1, "11"), "present", "held", "Hold", "held by recovery 20261122t140522z-5f3a")
	one.HoldId, one.HoldReason = "recovery/20261122t140522z-5f3a", "the data dir is changed"
	one.Recovery = &agentpb.Recovery{Id: "20261122t140522z-5f3a", State: state, Step: step, Error: problem, Started: at(-38 * time.Second)}
	three := stopped(serving("cp-3", id3, "13"), "present", "held", "Hold", "held by recovery 20261122t140522z-5f3a")
	three.HoldId = "recovery/20261122t140522z-5f3a"
	return observation(one, dark("cp-2", "12", "its agent did not answer in time"), three)
}

// joining: restored, one node joined, one is dark.
func joining() *agentpb.Observation {
	const restored = "77aa5566bb441122"
	ob := observation(serving("cp-1", id1, "11"), dark("cp-2", "12", "its agent did not answer in time"), serving("cp-3", id3, "13"))
	for _, n := range []*agentpb.NodeState{ob.GetNodes()[0], ob.GetNodes()[2]} {
		n.Lineage = append(n.Lineage, &agentpb.Generation{Epoch: 1, ClusterId: restored})
		n.Etcd.ClusterId, n.DataDir.ClusterId = restored, restored
		ms := three()
		n.Etcd.Members = []*agentpb.Member{ms[0], ms[2]}
		n.DataDir.Members = n.GetEtcd().GetMembers()
		n.Archive = []*agentpb.ArchiveEntry{{Id: "a", At: at(-time.Minute), Path: "/var/lib/etcd/.ceo/archive/a"}}
	}
	ob.Nodes[0].Recovery = &agentpb.Recovery{Id: "20261122t140522z-5f3a", State: "joining", Step: "join/cp-3", Started: at(-90 * time.Second), WaitingFor: []string{"cp-2"}, Epoch: 1}
	return ob
}

func troubled() *agentpb.Observation {
	ob := healthyThree()
	one, two, three := ob.GetNodes()[0], ob.GetNodes()[1], ob.GetNodes()[2]
	one.Certificates = append(one.Certificates, &agentpb.Certificate{Path: "/etc/kubernetes/pki/apiserver.crt", NotAfter: at(-26 * time.Hour)}, &agentpb.Certificate{Path: "/var/lib/ceo/pki/agent.crt", NotAfter: at(9 * 24 * time.Hour)})
	one.ApiServer = &agentpb.APIServer{Error: "certificate has expired"}
	two.Etcd.Alarms = []string{"NOSPACE"}
	two.Disk = &agentpb.Disk{Free: 4e9, Total: 100e9}
	three.Guard = &agentpb.Guard{}
	three.Kubelet = &agentpb.KubeletState{State: "failed"}
	return ob
}
