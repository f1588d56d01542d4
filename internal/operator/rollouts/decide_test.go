package rollouts

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd/rollout"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/staticpod"
)

const old = "00000000000000aa"

// running is what every node holds.
var running = staticpod.Content{
	Version: "3.7.0", Image: "registry.k8s.io/etcd:3.7.0-0", QuotaBytes: 2 << 30, HeartbeatMilliseconds: 100, ElectionMilliseconds: 1000,
}

func content(c staticpod.Content) []byte {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return raw
}

type change func(*View)

// three healthy nodes that were adopted; cp-1 leads.
func three(changes ...change) View {
	v := View{Bound: 3 * time.Minute, Observation: observe.Observation{At: time.Unix(1e9, 0), Cluster: &v1alpha1.EtcdCluster{Status: v1alpha1.EtcdClusterStatus{ClusterVersion: "3.7.0"}}}}
	var members []*agentpb.Member
	for i := range 3 {
		members = append(members, &agentpb.Member{Id: fmt.Sprint(i + 1), Name: fmt.Sprintf("cp-%d", i+1)})
	}
	for i, m := range members {
		v.Nodes = append(v.Nodes, observe.Node{Name: m.GetName(), Address: fmt.Sprintf("10.0.0.%d", i+1), Wanted: true, State: &agentpb.NodeState{
			Name: m.GetName(),
			Etcd: &agentpb.Etcd{Answers: true, HasLeader: true, LeaderId: "1", MemberId: m.GetId(), ClusterId: "c1", Version: "3.7.0", DbSize: 1 << 20, Members: members, MembersLinearizable: true},
			Revisions: &agentpb.Revisions{
				Placed: old, Running: old, LastGood: old, Content: content(running), PlacedForMs: time.Hour.Milliseconds(),
			},
		}})
	}
	for _, c := range changes {
		c(&v)
	}
	return v
}

func spec(f func(*v1alpha1.EtcdClusterSpec)) change { return func(v *View) { f(&v.Cluster.Spec) } }

func reason(text string) change {
	return spec(func(s *v1alpha1.EtcdClusterSpec) { s.ForceRedeploymentReason = text })
}

func quota(q v1alpha1.Size) change { return spec(func(s *v1alpha1.EtcdClusterSpec) { s.Quota = q }) }

func version(x string) change {
	return spec(func(s *v1alpha1.EtcdClusterSpec) { s.Etcd.Version = x })
}

func state(i int, f func(*agentpb.NodeState)) change {
	return func(v *View) { f(v.Nodes[i-1].State) }
}

// has gives a node what the specification asks for, by name.
func given(i int, f func(*agentpb.Revisions)) change {
	return func(v *View) {
		want, err := Target(v.Cluster.Spec)
		if err != nil {
			panic(err)
		}
		c := running
		if want.QuotaBytes != 0 {
			c.QuotaBytes = want.QuotaBytes
		}
		if want.Version != "" {
			c.Version, c.Image = want.Version, staticpod.DefaultImage(want.Version)
		}
		c.Reason = want.Reason
		r := v.Nodes[i-1].State.GetRevisions()
		r.Placed, r.Running, r.LastGood, r.Content = want.Hash(), want.Hash(), want.Hash(), content(c)
		if f != nil {
			f(r)
		}
	}
}

func dark(i int) change {
	return func(v *View) { v.Nodes[i-1].State, v.Nodes[i-1].Err = nil, "its agent does not answer" }
}

func TestDecide(t *testing.T) {
	unmanaged := spec(func(s *v1alpha1.EtcdClusterSpec) { s.ManagementState = v1alpha1.Unmanaged })
	timing := func(p v1alpha1.TimingProfile) change {
		return spec(func(s *v1alpha1.EtcdClusterSpec) { s.Timing.Profile = p })
	}
	recovery := state(2, func(s *agentpb.NodeState) { s.Recovery = &agentpb.Recovery{Id: "r-1"} })
	for name, c := range map[string]struct {
		v       View
		kind    rollout.Kind
		node    string
		text    string // what the reason holds
		problem string
	}{
		"adoption: nothing is asked for, nothing is restarted": {three(), rollout.Done, "", "", ""},
		"adoption: what runs is asked for by name":             {three(quota("2Gi"), timing(v1alpha1.TimingStandard), version("3.7.0")), rollout.Done, "", "", ""},
		"a person has taken the reason away":                   {three(given(1, nil), given(2, nil)), rollout.Done, "", "", ""},
		"forced: a follower first":                             {three(reason("x")), rollout.Restart, "cp-2", "is wanted", ""},
		"then the next":                                        {three(reason("x"), given(2, nil)), rollout.Restart, "cp-3", "is wanted", ""},
		"the leader hands over":                                {three(reason("x"), given(2, nil), given(3, nil)), rollout.MoveLeader, "cp-1", "the last", ""},
		"and is over":                                          {three(reason("x"), given(1, nil), given(2, nil), given(3, nil)), rollout.Done, "", "", ""},
		"a quota":                                              {three(quota("4Gi")), rollout.Restart, "cp-2", "", ""},
		"timing":                                               {three(timing(v1alpha1.TimingSlow)), rollout.Restart, "cp-2", "", ""},
		"P22: one is under way":                                {three(reason("x"), given(2, func(r *agentpb.Revisions) { r.Running, r.PlacedForMs = old, 1000 })), rollout.Wait, "cp-2", "does not run it yet", ""},

		"I23: an agent is dark, and there is something to do":   {three(reason("x"), dark(3)), rollout.Wait, "cp-3", "does not answer", ""},
		"I23: its last answer stands in, and is not relied on":  {three(reason("x"), func(v *View) { v.Nodes[2].Err = "late" }), rollout.Wait, "cp-3", "", ""},
		"I23: the container runtime could not be asked":         {three(reason("x"), state(3, func(s *agentpb.NodeState) { s.Revisions.Error, s.Revisions.Running = "no socket", "" })), rollout.Wait, "cp-3", "no socket", ""},
		"an agent that knows no revisions, nothing asked for":   {three(state(1, func(s *agentpb.NodeState) { s.Revisions = nil })), rollout.Done, "", "", ""},
		"an agent that knows no revisions":                      {three(reason("x"), state(1, func(s *agentpb.NodeState) { s.Revisions = nil })), rollout.Wait, "cp-1", "says nothing of the revisions", ""},
		"P17: a recovery is open":                               {three(reason("x"), recovery), rollout.Wait, "", "recovery r-1", ""},
		"unmanaged":                                             {three(reason("x"), unmanaged), rollout.Wait, "", "Unmanaged", ""},
		"I6: another member is down":                            {three(reason("x"), state(3, func(s *agentpb.NodeState) { s.Etcd = &agentpb.Etcd{Error: "connection refused"} })), rollout.Restart, "cp-3", "is not healthy", ""},
		"a person changed by hand what is asked for":            {three(quota("4Gi"), given(1, nil), given(2, nil), given(3, func(r *agentpb.Revisions) { r.Content = content(running) })), rollout.Restart, "cp-3", "", ""},
		"after a recovery: the recovery node has an older one":  {three(quota("4Gi"), given(1, nil), given(2, nil)), rollout.Restart, "cp-3", "", ""},
		"it does not come back":                                 {three(reason("x"), given(2, func(r *agentpb.Revisions) { r.LastGood = old }), state(2, func(s *agentpb.NodeState) { s.Etcd = &agentpb.Etcd{Error: "connection refused"} })), rollout.RollBack, "cp-2", "put back", ""},
		"it was put back":                                       {three(reason("x"), rolledBack(2)), rollout.Stopped, "cp-2", "the roll-out stopped", ""},
		"a new specification goes on":                           {three(rolledBack(2), reason("y")), rollout.Restart, "cp-2", "", ""},
		"I23: the selector leaves out a node with a member":     {three(quota("4Gi"), func(v *View) { v.Nodes[2].Wanted, v.Nodes[2].LeftOut = false, true }), rollout.Wait, "", "leaves out cp-3", v1alpha1.ReasonSelectorMismatch},
		"I25: a quota below the database":                       {three(quota("64Mi"), state(3, func(s *agentpb.NodeState) { s.Etcd.DbSize = 65 << 20 })), rollout.Wait, "", "cp-3", v1alpha1.ReasonQuotaBelowDatabase},
		"a version: a snapshot first":                           {three(version("3.7.3")), rollout.Wait, "", "snapshot", ""},
		"a version, with a snapshot":                            {three(version("3.7.3"), func(v *View) { v.Snapshot = "3.7.3" }), rollout.Restart, "cp-2", "", ""},
		"a snapshot for another version is none":                {three(version("3.7.3"), func(v *View) { v.Snapshot = "3.7.2" }), rollout.Wait, "", "snapshot", ""},
		"begun: it goes on without another snapshot":            {three(version("3.7.3"), given(2, nil), state(2, func(s *agentpb.NodeState) { s.Etcd.Version = "3.7.3" })), rollout.Restart, "cp-3", "", ""},
		"an unknown version":                                    {three(version("3.9.0")), rollout.Wait, "", "not one of", v1alpha1.ReasonVersionUnknown},
		"I22: a downgrade":                                      {three(version("3.6.6")), rollout.Wait, "", "a downgrade is refused", v1alpha1.ReasonVersionSkew},
		"a refused version: one under way is put back all same": {three(version("3.6.6"), state(2, stuck)), rollout.RollBack, "cp-2", "", v1alpha1.ReasonVersionSkew},
	} {
		t.Run(name, func(t *testing.T) {
			p := Decide(c.v)
			if p.Action.Kind != c.kind || p.Action.Node != c.node || !strings.Contains(p.Action.Reason, c.text) {
				t.Errorf("got %+v", p.Action)
			}
			if got := problem(p); got != c.problem {
				t.Errorf("problem %q, want %q", got, c.problem)
			}
		})
	}
}

func problem(p Plan) string {
	if p.Problem == nil {
		return ""
	}
	return p.Problem.Reason
}

// stuck runs a revision of before that it never was healthy with.
func stuck(s *agentpb.NodeState) {
	s.Revisions.Placed, s.Revisions.Running, s.Revisions.LastGood = "00000000000000bb", "00000000000000bb", old
	s.Etcd = &agentpb.Etcd{Error: "connection refused"}
}

func rolledBack(i int) change {
	return func(v *View) {
		want, err := Target(v.Cluster.Spec)
		if err != nil {
			panic(err)
		}
		v.Nodes[i-1].State.GetRevisions().RolledBackFrom = want.Hash()
	}
}

func TestReport(t *testing.T) {
	hash := func(v View) string { return Decide(v).Target }
	before := func(v View, s v1alpha1.RolloutState) *v1alpha1.RolloutStatus {
		return &v1alpha1.RolloutStatus{Revision: 4, Hash: hash(v), State: s, Updated: "3/3"}
	}
	forced := three(reason("x"))
	darkAtRest := three(reason("x"), given(1, nil), given(2, nil), dark(3))
	for name, c := range map[string]struct {
		v        View
		before   *v1alpha1.RolloutStatus
		state    v1alpha1.RolloutState
		updated  string
		progress string
		degraded string
	}{
		"adopted":              {three(), nil, v1alpha1.RolloutComplete, "3/3", "", ""},
		"running":              {forced, nil, v1alpha1.RolloutRunning, "0/3", v1alpha1.ReasonRollingOut, ""},
		"at rest, one is dark": {darkAtRest, before(darkAtRest, v1alpha1.RolloutComplete), v1alpha1.RolloutComplete, "3/3", "", ""},
		"upgrading":            {three(version("3.7.3")), nil, v1alpha1.RolloutRunning, "0/3", v1alpha1.ReasonUpgrading, ""},
		"stopped":              {three(reason("x"), rolledBack(2)), nil, v1alpha1.RolloutStopped, "0/3", "", v1alpha1.ReasonRolloutStopped},
	} {
		t.Run(name, func(t *testing.T) {
			r := Decide(c.v).Report(c.before, nil)
			if r.Rollout == nil || r.Rollout.State != c.state || r.Rollout.Updated != c.updated {
				t.Errorf("%+v", r.Rollout)
			}
			if got := r.Progressing; (got == nil) != (c.progress == "") || got != nil && got.Reason != c.progress {
				t.Errorf("progressing: %+v", got)
			}
			if (len(r.Degraded) == 0) != (c.degraded == "") || len(r.Degraded) > 0 && r.Degraded[0].Reason != c.degraded {
				t.Errorf("degraded: %+v", r.Degraded)
			}
		})
	}
}
