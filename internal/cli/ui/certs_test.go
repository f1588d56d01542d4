package ui

import (
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

const (
	oldCA = "AAAA11112222333344445555666677778888999900001111222233334444AAAA"
	newCA = "BBBB11112222333344445555666677778888999900001111222233334444BBBB"
)

func certNode(name string, ca *agentpb.CAState, by string) *agentpb.NodeState {
	cert := func(path, by string, left time.Duration) *agentpb.Certificate {
		return &agentpb.Certificate{Path: path, NotBefore: at(-4 * 365 * 24 * time.Hour), NotAfter: at(left), SignedBy: by}
	}
	const day = 24 * time.Hour
	return &agentpb.NodeState{
		Name: name, Ca: ca, Etcd: &agentpb.Etcd{Answers: true, HasLeader: true, MemberId: name, LeaderId: "cp-1"},
		Certificates: []*agentpb.Certificate{
			cert("/etc/kubernetes/pki/etcd/ca.crt", by, 6*365*day), cert("/etc/kubernetes/pki/etcd/server.crt", by, 300*day),
			cert("/etc/kubernetes/pki/apiserver.crt", "", 200*day), cert("/var/lib/ceo/pki/agent.crt", by, 300*day),
			cert("/var/lib/ceo/operator/operator.crt", by, 300*day),
		},
	}
}

func caState(trusted []string, signing, target, reason string, etcdTrusts ...string) *agentpb.CAState {
	return &agentpb.CAState{Trusted: trusted, Signing: signing, Target: target, Reason: reason, EtcdTrusts: etcdTrusts}
}

func TestCerts(t *testing.T) {
	well := &agentpb.Observation{ClusterName: "prod", Nodes: []*agentpb.NodeState{certNode("cp-2", nil, oldCA), certNode("cp-1", nil, oldCA)}}
	due := &agentpb.Observation{ClusterName: "prod", Nodes: []*agentpb.NodeState{certNode("cp-1", nil, oldCA), {Name: "cp-2", Unreachable: "its agent does not answer"}}}
	c := due.Nodes[0].Certificates
	c[0].NotAfter, c[1].NotAfter, c[2].NotAfter, c[3].NotAfter, c[4].NotAfter = at(100*24*time.Hour), at(-time.Hour), at(20*24*time.Hour), at(50*24*time.Hour), at(110*24*time.Hour)
	both := []string{oldCA, newCA}
	change := &agentpb.Observation{ClusterName: "prod", Nodes: []*agentpb.NodeState{
		certNode("cp-1", caState(both, oldCA, newCA, "yearly", oldCA), oldCA), certNode("cp-2", caState(both, oldCA, newCA, "yearly", oldCA, newCA), oldCA),
	}}
	for name, o := range map[string]*agentpb.Observation{"certs": well, "certs-due": due, "certs-change": change} {
		v := Certs(o, now)
		golden(t, name, CertsText(v, Style{}))
		golden(t, name+".json", asJSON(t, v))
		if (v.Due > 0) != (name == "certs-due") {
			t.Errorf("%s: %d due", name, v.Due)
		}
	}
	// A life of ten minutes is looked at by its own measure.
	short := certNode("cp-1", nil, oldCA)
	short.Settings = &agentpb.Settings{LeafLife: 600}
	for left, want := range map[time.Duration]string{5 * time.Minute: "", 190 * time.Second: "renewed by the agent now", time.Minute: "should have been renewed"} {
		short.Certificates[1].NotAfter = at(left)
		v := Certs(&agentpb.Observation{Nodes: []*agentpb.NodeState{short}}, now)
		for _, x := range v.Nodes[0].Certificates {
			if x.Name == "etcd/server" && (!strings.Contains(x.Due, want) || want == "" && x.Due != "") {
				t.Errorf("%s left: %q", left, x.Due)
			}
		}
	}
}

func TestPlanCA(t *testing.T) {
	never := &agentpb.Observation{ClusterName: "prod", Nodes: []*agentpb.NodeState{certNode("cp-1", nil, oldCA), certNode("cp-2", nil, oldCA), certNode("cp-3", nil, oldCA)}}
	dark := &agentpb.Observation{ClusterName: "prod", Nodes: []*agentpb.NodeState{certNode("cp-1", nil, oldCA), {Name: "cp-2", Unreachable: "its agent does not answer"}}}
	both := []string{oldCA, newCA}
	under := &agentpb.Observation{ClusterName: "prod", Nodes: []*agentpb.NodeState{certNode("cp-1", caState(both, oldCA, newCA, "yearly", oldCA), oldCA)}}
	done := &agentpb.Observation{ClusterName: "prod", Nodes: []*agentpb.NodeState{certNode("cp-1", caState([]string{newCA}, newCA, newCA, "yearly", newCA), newCA)}}
	for name, o := range map[string]*agentpb.Observation{"ca-plan": never, "ca-plan-refused": dark, "ca-plan-under-way": under, "ca-plan-done": done} {
		p := PlanCA(o, "yearly")
		golden(t, name, CAPlanText(p))
		golden(t, name+".json", asJSON(t, p))
		if p.Done != (name == "ca-plan-done") || p.UnderWay != (name == "ca-plan-under-way") || (len(p.Refused) > 0) != (name == "ca-plan-refused") {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p := PlanCA(done, "another"); p.Done || len(p.Steps) == 0 {
		t.Errorf("another reason: %+v", p)
	}
}
