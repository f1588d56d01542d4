package ui

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

func TestStatus(t *testing.T) {
	offline := disaster()
	conflict := healthyThree()
	conflict.Nodes[1].LineageConflict = "epoch 1 is cluster aaaa here and cluster bbbb on cp-3"
	wiped := healthyThree()
	stopped(wiped.GetNodes()[2], "none", "refused", "Refuse", "the data of member "+id3+" is gone, and it must not start anew under its old id: remove the member and add it again")
	former := healthyThree()
	former.Nodes = append(former.Nodes, dark("cp-4", "14", "its agent did not answer in time"))
	for _, c := range []struct {
		name    string
		ob      *agentpb.Observation
		down    string
		verdict Verdict
		verbose bool
	}{
		{"healthy", healthyThree(), "", Healthy, false},
		{"healthy-verbose", healthyThree(), "", Healthy, true},
		{"no-quorum", noQuorum(), "", NoQuorum, false},
		{"disaster", disaster(), "", NoQuorum, false},
		{"waits-to-be-added", waiting(), "", Degraded, false},
		{"wiped-member", wiped, "", Degraded, false},
		{"recovery-runs", restoring("running", "stage", ""), "", Recovering, false},
		{"recovery-failed", restoring("failed", "stage", "stage on cp-1: the disk is full"), "", NoQuorum, false},
		{"recovery-waits-for-dark-node", joining(), "", Recovering, false},
		{"agent-dead", offline, "dial unix /run/ceo/agent.sock: connect: connection refused", NoQuorum, false},
		{"former-node", former, "", Healthy, false},
		{"troubled", troubled(), "", Degraded, false},
		{"lineage-conflict", conflict, "", Degraded, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Summarize(c.ob, c.down, now)
			if v.Verdict != c.verdict {
				t.Errorf("verdict %s, want %s", v.Verdict, c.verdict)
			}
			if v.Well() != (len(v.Why) == 0 && v.Verdict == Healthy) {
				t.Errorf("%s, for %q", v.Verdict, v.Why)
			}
			if !v.Well() && len(v.Next) == 0 {
				t.Error("not well, and nothing to type")
			}
			text := Status(v, c.verbose, Style{})
			if lines := strings.Count(text, "\n"); lines > 40 {
				t.Errorf("%d lines are more than a screen", lines)
			}
			golden(t, "status-"+c.name, text)
			golden(t, "status-"+c.name+".json", asJSON(t, v))
		})
	}
}

func TestColourChangesNoWord(t *testing.T) {
	v := Summarize(troubled(), "", now)
	painted := Status(v, true, Style{Colour: true})
	if !strings.Contains(painted, "\x1b[31m") {
		t.Fatal("no colour")
	}
	for _, code := range []string{"\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"} {
		painted = strings.ReplaceAll(painted, code, "")
	}
	if painted != Status(v, true, Style{}) {
		t.Error("the words differ with colour")
	}
}

// I23: peers that do not answer are unknown, which a person is told.
func TestSilentPeersAreUnknown(t *testing.T) {
	v := Summarize(disaster(), "", now)
	if len(v.Notes) == 0 || !strings.Contains(v.Notes[0], "cannot be told from here") {
		t.Errorf("notes %q", v.Notes)
	}
}

func TestNothingObservedIsNoPanic(t *testing.T) {
	for _, ob := range []*agentpb.Observation{nil, {}, observation(&agentpb.NodeState{}), observation(nil)} {
		if v := Summarize(ob, "", now); v.Well() {
			t.Errorf("%v is healthy", ob)
		}
		_ = Status(Summarize(ob, "", now), true, Style{})
	}
}
