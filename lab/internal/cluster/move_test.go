package cluster

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/lab/internal/state"
)

func TestMayMove(t *testing.T) {
	one, two := &state.Node{Name: "cp-1", Index: 1}, &state.Node{Name: "cp-2", Index: 2, Moved: "10.78.0.30"}
	l := &Lab{S: &state.State{Nodes: []*state.Node{one, two}}}
	for address, says := range map[string]string{
		"10.78.0.31":  "",
		"10.78.0.254": "",
		"10.78.0.30":  "is the address of cp-2",
		"10.78.0.10":  "choose one of",
		"10.78.0.19":  "choose one of",
		"10.78.0.255": "choose one of",
		"10.79.0.31":  "choose one of",
		"fd00::31":    "choose one of",
		"cp-9":        "is no address",
	} {
		err := l.mayMove(one, address)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", address, err, says)
		}
	}
	two.Moved = ""
	if got := l.spec(one).Address(2); got != "10.78.0.12" {
		t.Error(got)
	}
	two.Moved = "10.78.0.30"
	if got := l.spec(one).Address(2); got != "10.78.0.30" || two.IP() != got {
		t.Error(got)
	}
}
