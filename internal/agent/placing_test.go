package agent

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/revision"
)

func TestDecidePlacing(t *testing.T) {
	for name, c := range map[string]struct {
		p   placing
		why string
	}{
		"nothing stands against it":               {placing{asked: "a", cluster: "a"}, ""},
		"no cluster yet":                          {placing{asked: "a"}, ""},
		"P17: a recovery is open":                 {placing{recovery: "r-1"}, "recovery r-1 is open"},
		"P17: held":                               {placing{hold: "recovery/r-1"}, "held by recovery/r-1"},
		"P17: the data is being swapped":          {placing{pending: "r-1"}, "swapping the data"},
		"P17: fenced":                             {placing{fenced: true}, "fenced"},
		"I5: it was decided on another cluster":   {placing{asked: "a", cluster: "b"}, "decided on cluster a"},
		"a person's call that names no cluster":   {placing{cluster: "b"}, ""},
		"P17: a recovery, though it is the right": {placing{asked: "a", cluster: "a", recovery: "r"}, "recovery r"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decidePlacing(c.p); (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
				t.Errorf("%q, want %q", got, c.why)
			}
		})
	}
}

// I6, P22: what is looked at under the lock.
func TestVotersNow(t *testing.T) {
	serving := func(r *agentpb.Revisions) *agentpb.NodeState {
		return &agentpb.NodeState{Etcd: &agentpb.Etcd{Answers: true, HasLeader: true}, Revisions: r}
	}
	down := &agentpb.NodeState{Etcd: &agentpb.Etcd{}}
	good := serving(&agentpb.Revisions{Placed: "a", Running: "a"})
	type states = map[string]*agentpb.NodeState
	members := func(n int) []etcd.Member {
		return []etcd.Member{{ID: 1, Name: "cp-1"}, {ID: 2, Name: "cp-2"}, {ID: 3, Name: "cp-3"}}[:n]
	}
	for name, c := range map[string]struct {
		members int
		states  states
		may     bool
	}{
		"all are well":                                      {3, states{"cp-1": good, "cp-2": good, "cp-3": good}, true},
		"agents that know no revisions":                     {3, states{"cp-1": good, "cp-2": serving(nil), "cp-3": serving(nil)}, true},
		"another is down":                                   {3, states{"cp-1": good, "cp-2": down, "cp-3": good}, false},
		"I23: another is not known":                         {3, states{"cp-1": good, "cp-3": good}, false},
		"P22: another is about to restart":                  {3, states{"cp-1": good, "cp-2": serving(&agentpb.Revisions{Placed: "b", Running: "a"}), "cp-3": good}, false},
		"P22: whether another is about to is not known":     {3, states{"cp-1": good, "cp-2": serving(&agentpb.Revisions{Placed: "a", Error: "no socket"}), "cp-3": good}, false},
		"it is down itself":                                 {3, states{"cp-1": down, "cp-2": good, "cp-3": good}, true},
		"the only one":                                      {1, states{"cp-1": good}, true},
		"one of two":                                        {2, states{"cp-1": good, "cp-2": good}, true},
		"the only one, about to restart":                    {1, states{"cp-1": serving(&agentpb.Revisions{Placed: "b", Running: "a"})}, true},
		"one of two, the other is down":                     {2, states{"cp-1": good, "cp-2": down}, false},
		"its own runtime cannot be asked: it is not missed": {3, states{"cp-1": serving(&agentpb.Revisions{Error: "x"}), "cp-2": good, "cp-3": good}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mayRestart(votersNow(members(c.members), c.states), "cp-1"); got.OK != c.may {
				t.Errorf("%+v", got)
			}
		})
	}
	if got := mayRestart(votersNow(members(3), states{"cp-1": good, "cp-2": good, "cp-3": good}), "cp-9"); !got.OK {
		t.Errorf("a node without a member is missed: %+v", got)
	}
}

// P22, I23: who is put back without the question whether it can be missed.
func TestToRestart(t *testing.T) {
	for name, c := range map[string]struct {
		r    *agentpb.Revisions
		want bool
	}{
		"the one of before runs":           {&agentpb.Revisions{Placed: "b", Running: "a"}, true},
		"nothing runs":                     {&agentpb.Revisions{Placed: "b"}, true},
		"it runs":                          {&agentpb.Revisions{Placed: "b", Running: "b"}, false},
		"I23: what runs is not known":      {&agentpb.Revisions{Placed: "b", Error: "no socket"}, false},
		"an agent that knows no revisions": {nil, false},
	} {
		if got := toRestart(&agentpb.NodeState{Revisions: c.r}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if toRestart(nil) {
		t.Error("nothing is known")
	}
}

func TestRuns(t *testing.T) {
	ours, others := revision.Present{Revision: "a", Ours: true}, revision.Present{Revision: "d"}
	for name, c := range map[string]struct {
		said []string
		p    revision.Present
		want string
	}{
		"nothing runs":                    {nil, ours, ""},
		"it runs":                         {[]string{"a"}, ours, "a"},
		"the one of before":               {[]string{"b"}, ours, "b"},
		"adopted: none has a name":        {[]string{""}, others, "d"},
		"one without a name, before":      {[]string{""}, ours, ""},
		"two at once, one on its way out": {[]string{"a", "b"}, ours, ""},
		"kubeadm has written it anew":     {[]string{"a"}, others, "a"},
	} {
		if got := runs(c.said, c.p); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
