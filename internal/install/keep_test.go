package install

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcd"
)

func TestDecideKeep(t *testing.T) {
	for name, row := range map[string]struct {
		says                Says
		restart, acceptDown bool
	}{
		"the API does not answer (I23)":    {Says{Err: errors.New("time-out")}, false, false},
		"the API does not answer, managed": {Says{Err: errors.New("time-out"), Exists: true, Managed: true}, false, false},
		"not adopted":                      {Says{}, false, false},
		"unmanaged":                        {Says{Exists: true}, false, false},
		"managed":                          {Says{Exists: true, Managed: true}, true, false},
		"this node's turn":                 {Says{Exists: true, Adopting: "cp-1"}, true, false},
		"its turn, downtime accepted":      {Says{Exists: true, Adopting: "cp-1", Accepts: []string{RiskDowntime}}, true, true},
		"another node's turn":              {Says{Exists: true, Adopting: "cp-2", Accepts: []string{RiskDowntime}}, false, false},
		"managed, and another node's turn": {Says{Exists: true, Managed: true, Adopting: "cp-2"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := DecideKeep("cp-1", row.says)
			if got.Restart != row.restart || got.AcceptDowntime != row.acceptDown || got.Why == "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestDecideAgentRestartsNothing (I6): whatever the quorum is, and also where the guard is of another version.
func TestDecideAgentRestartsNothing(t *testing.T) {
	healthy := []etcd.Member{{ID: 1, Name: "cp-1", Health: etcd.Healthy}, {ID: 2, Name: "cp-2", Health: etcd.Unknown}, {ID: 3, Name: "cp-3", Health: etcd.Unknown}}
	for name, f := range map[string]Facts{
		"a new node":                 {Node: "cp-1", ImagePresent: true, Self: 1, Members: healthy, AgentCert: "none", AdminCert: "none"},
		"a guard of another version": {Node: "cp-1", ImagePresent: true, Self: 1, Members: healthy, Guarded: true, KubeadmSaved: true, AgentPlaced: true},
		"an expired certificate":     {Node: "cp-1", ImagePresent: true, Self: 1, Members: healthy, Expired: []string{"etcd/server.crt"}},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := DecideAgent(f, true)
			if err != nil || plan.Restarts() || slices.ContainsFunc(plan.Steps, func(s Step) bool { return s.Do == MoveLeader }) {
				t.Errorf("%v\n%v", err, plan)
			}
			if !slices.ContainsFunc(plan.Steps, func(s Step) bool { return s.Do == PlaceAgent }) {
				t.Errorf("the agent is not placed: %v", plan)
			}
		})
	}
}

// node is what the two installations would find, and what was done.
type fakeNode struct {
	agentSteps, etcdSteps []Step
	refuse                error
	agentRuns, fullRuns   int
}

func (n *fakeNode) agent(_ context.Context, o Options) (Plan, error) {
	p := Plan{Steps: n.agentSteps}
	if !o.DryRun {
		n.agentRuns++
		n.agentSteps = nil
	}
	return p, nil
}

func (n *fakeNode) full(_ context.Context, o Options) (Plan, error) {
	if n.refuse != nil {
		return Plan{}, n.refuse
	}
	p := Plan{Steps: append(slices.Clone(n.agentSteps), n.etcdSteps...)}
	if !o.DryRun {
		n.fullRuns++
		n.agentSteps, n.etcdSteps = nil, nil
	}
	return p, nil
}

func newKeeper(n *fakeNode, says *Says) *Keeper {
	return &Keeper{
		Node: "cp-1", Ask: func(context.Context) Says { return *says }, Full: n.full, Agent: n.agent, Interval: time.Second,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
}

// TestKeeper: the agent comes by itself, etcd's guard with the adoption, and at rest nothing is run (I20).
func TestKeeper(t *testing.T) {
	n := &fakeNode{agentSteps: []Step{{Do: PlaceAgent}}, etcdSteps: []Step{{Do: RestartEtcd}}}
	says := Says{}
	k := newKeeper(n, &says)
	expect := func(what string, agentRuns, fullRuns int) {
		t.Helper()
		if n.agentRuns != agentRuns || n.fullRuns != fullRuns {
			t.Fatalf("%s: %d runs for the agent and %d in full, want %d and %d", what, n.agentRuns, n.fullRuns, agentRuns, fullRuns)
		}
	}
	once := func() {
		t.Helper()
		if err := k.once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	once()
	expect("not adopted", 1, 0)
	once()
	once()
	expect("at rest", 1, 0)
	says = Says{Err: errors.New("the API is down")}
	once()
	expect("the API is down", 1, 0)
	says = Says{Exists: true, Adopting: "cp-1"}
	once()
	expect("its turn", 1, 1)
	says = Says{Exists: true, Managed: true}
	once()
	once()
	expect("managed, at rest", 1, 1)
	n.agentSteps = []Step{{Do: PlaceAgent}}
	once()
	expect("the agent's manifest is gone", 1, 2)

	n.refuse, n.agentSteps = &RefusedError{"quorum"}, []Step{{Do: PlaceAgent}}
	if err := k.once(t.Context()); !errors.Is(err, n.refuse) {
		t.Fatalf("a refusal is lost: %v", err)
	}
	expect("refused, the agent is mended all the same", 2, 2)
}

// TestKeeperWaitsForKubeadm: kubeadm's upgrade puts its own manifest in place and goes on for minutes; the guard comes back
// after that, and the agent is mended meanwhile.
func TestKeeperWaitsForKubeadm(t *testing.T) {
	n := &fakeNode{agentSteps: []Step{{Do: PlaceAgent}}, etcdSteps: []Step{{Do: RestartEtcd}}}
	says := Says{Exists: true, Managed: true}
	k := newKeeper(n, &says)
	now := time.Now()
	k.Now = func() time.Time { return now }
	for _, row := range []struct {
		after               time.Duration
		agentRuns, fullRuns int
	}{{0, 1, 0}, {time.Minute, 1, 0}, {settle - time.Minute - time.Second, 1, 0}, {time.Second, 1, 1}, {time.Minute, 1, 1}} {
		now = now.Add(row.after)
		if err := k.once(t.Context()); err != nil || n.agentRuns != row.agentRuns || n.fullRuns != row.fullRuns {
			t.Fatalf("%s later: %v, %d runs for the agent and %d in full, want %d and %d", row.after, err, n.agentRuns, n.fullRuns, row.agentRuns, row.fullRuns)
		}
	}
	n.etcdSteps = []Step{{Do: RestartEtcd}}
	if err := k.once(t.Context()); err != nil || n.fullRuns != 1 {
		t.Fatalf("the next time is not waited for anew: %v, %d", err, n.fullRuns)
	}
}

func TestNextPause(t *testing.T) {
	pause := 30 * time.Second
	for range 20 {
		pause = nextPause(pause, 30*time.Second)
	}
	if pause != maxPause {
		t.Errorf("%s", pause)
	}
	if got := nextPause(time.Hour, time.Hour); got != time.Hour {
		t.Errorf("%s", got)
	}
}
