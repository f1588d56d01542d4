package rotation

import (
	"strings"
	"testing"
)

const (
	before = "old"
	after  = "new"
)

// three nodes, each as given.
func three(n Node, change ...func([]Node)) []Node {
	out := make([]Node, 3)
	for i, name := range []string{"cp-1", "cp-2", "cp-3"} {
		out[i] = n
		out[i].Name = name
	}
	for _, f := range change {
		f(out)
	}
	return out
}

func leaves(by ...string) []Leaf {
	var out []Leaf
	for _, ca := range by {
		out = append(out, Leaf{"etcd/peer", ca})
	}
	return out
}

func TestDecide(t *testing.T) {
	both := []string{before, after}
	start := Node{Trusted: []string{before}, Signing: before, Leaves: leaves(before), EtcdTrusts: []string{before}}
	told := Node{Trusted: both, Signing: before, Leaves: leaves(before), EtcdTrusts: []string{before}, APIServerStale: true, Target: after}
	trusting := Node{Trusted: both, Signing: before, Leaves: leaves(before), EtcdTrusts: both, Target: after}
	signed := Node{Trusted: both, Signing: after, Leaves: leaves(after), EtcdTrusts: both, Target: after}
	forgot := Node{Trusted: []string{after}, Signing: after, Leaves: leaves(after), EtcdTrusts: both, APIServerStale: true, Target: after}
	end := Node{Trusted: []string{after}, Signing: after, Leaves: leaves(after), EtcdTrusts: []string{after}, Target: after}
	for name, row := range map[string]struct {
		nodes []Node
		kind  Kind
		node  string
		ca    string
		phase Phase
		why   string
	}{
		"nothing done":               {three(start), Trust, "cp-1", after, TrustBoth, "does not trust"},
		"one trusts":                 {three(start, func(n []Node) { n[0] = told; n[0].Name = "cp-1" }), Trust, "cp-2", after, TrustBoth, "does not trust"},
		"etcd runs on the old":       {three(told), RestartEtcd, "cp-1", after, TrustBoth, "read the bundle before"},
		"kube-apiserver does":        {three(told, func(n []Node) { n[0].EtcdTrusts = both }), RestartAPIServer, "cp-1", after, TrustBoth, "kube-apiserver"},
		"the last one restarts":      {three(trusting, func(n []Node) { n[2].EtcdTrusts = []string{before} }), RestartEtcd, "cp-3", after, TrustBoth, ""},
		"all trust both":             {three(trusting), Sign, "cp-1", after, IssueLeaves, "trusted everywhere"},
		"one signs":                  {three(trusting, func(n []Node) { n[0] = signed; n[0].Name = "cp-1" }), Sign, "cp-2", after, IssueLeaves, ""},
		"a leaf is left":             {three(signed, func(n []Node) { n[1].Leaves = leaves(after, before) }), Sign, "cp-2", after, IssueLeaves, "shows etcd/peer"},
		"a leaf of nobody":           {three(signed, func(n []Node) { n[1].Leaves = leaves("") }), Wait, "", "", IssueLeaves, "signed by no CA"},
		"all sign":                   {three(signed), Forget, "cp-1", before, TrustNew, "nothing that it signed"},
		"a third CA that was left":   {three(signed, func(n []Node) { n[0].Trusted = []string{after, "left"} }), Forget, "cp-1", "left", TrustNew, ""},
		"the files forgot":           {three(forgot), RestartEtcd, "cp-1", after, TrustNew, "still trusts the old"},
		"kube-apiserver did not":     {three(end, func(n []Node) { n[1].APIServerStale = true }), RestartAPIServer, "cp-2", after, TrustNew, "still trusts the old"},
		"done":                       {three(end), Done, "", "", Complete, ""},
		"no node":                    {nil, Wait, "", "", "", "no node"},
		"told of another meanwhile":  {three(trusting, func(n []Node) { n[1].Target = "other" }), Trust, "cp-2", after, "", "another CA"},
		"I23: dark at the start":     {three(start, func(n []Node) { n[2].Unknown = "time-out" }), Wait, "", "", TrustBoth, "cp-3 cannot be looked at: time-out"},
		"I23: dark before signing":   {three(trusting, func(n []Node) { n[2].Unknown = "time-out" }), Wait, "", "", "", "cp-3 cannot be looked at"},
		"I23: dark before the end":   {three(signed, func(n []Node) { n[0].Unknown = "time-out" }), Wait, "", "", "", "cp-1 cannot be looked at"},
		"a node joined with the old": {three(signed, func(n []Node) { n[2] = start; n[2].Name = "cp-3" }), Trust, "cp-3", after, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(after, row.nodes)
			if got.Kind != row.kind || got.Node != row.node || got.CA != row.ca || row.phase != "" && got.Phase != row.phase || !strings.Contains(got.Reason, row.why) || got.Reason == "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	both := []string{before, after}
	trusting := Node{Trusted: both, Signing: before, EtcdTrusts: both, Target: after}
	for name, row := range map[string]struct {
		nodes []Node
		want  string
	}{
		"none was begun":          {three(Node{Trusted: []string{before}, Signing: before, EtcdTrusts: []string{before}}), ""},
		"trusted everywhere":      {three(trusting), after},
		"not trusted by one":      {three(trusting, func(n []Node) { n[1].Trusted = []string{before} }), ""},
		"a dark node":             {three(trusting, func(n []Node) { n[1].Unknown = "time-out" }), ""},
		"done":                    {three(Node{Trusted: []string{after}, Signing: after, EtcdTrusts: []string{after}, Target: after}), ""},
		"a restart is still owed": {three(Node{Trusted: []string{after}, Signing: after, EtcdTrusts: both, Target: after}), after},
	} {
		if got := Target(row.nodes); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}
