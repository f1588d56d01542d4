package adopt

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func three() Facts {
	f := Facts{Cluster: "prod"}
	for _, name := range []string{"cp-1", "cp-2", "cp-3"} {
		f.Nodes = append(f.Nodes, Node{
			Name: name, Agent: true, Voter: true, Healthy: true, Leader: name == "cp-1", Version: "3.6.6", Quota: 2 << 30, Heartbeat: 100, Election: 1000,
		})
	}
	return f
}

func TestDecide(t *testing.T) {
	for name, row := range map[string]struct {
		change  func(*Facts)
		refused string // "" for a plan
		guard   []string
		done    bool
	}{
		"a kubeadm cluster; the leader is last": {func(*Facts) {}, "", []string{"cp-2", "cp-3", "cp-1"}, false},
		"half way (I20)":                        {func(f *Facts) { f.Exists, f.Nodes[1].Guarded = true, true }, "", []string{"cp-3", "cp-1"}, false},
		"all guarded, not managed": {func(f *Facts) {
			f.Exists = true
			for i := range f.Nodes {
				f.Nodes[i].Guarded = true
			}
		}, "", nil, false},
		"adopted": {func(f *Facts) {
			f.Exists, f.Managed = true, true
			for i := range f.Nodes {
				f.Nodes[i].Guarded = true
			}
		}, "", nil, true},
		"no CRD":                  {func(f *Facts) { f.NoCRD = true }, "ceo install", nil, false},
		"a node without ceo":      {func(f *Facts) { f.Nodes[2].Agent, f.Nodes[2].Why = false, "connection refused" }, "node cp-3 has no agent", nil, false},
		"a member that is down":   {func(f *Facts) { f.Nodes[1].Healthy = false }, "member of cp-2 is not healthy", nil, false},
		"no quorum":               {func(f *Facts) { f.Nodes[1].Healthy, f.Nodes[2].Healthy = false, false }, "quorum is not healthy", nil, false},
		"a node without a member": {func(f *Facts) { f.Nodes[1].Voter = false }, "no voting member", nil, false},
		"an old etcd":             {func(f *Facts) { f.Nodes[0].Version = "3.4.30" }, "not supported", nil, false},
		"an upgrade half way":     {func(f *Facts) { f.Nodes[0].Version = "3.5.24" }, "finish the upgrade", nil, false},
		"quotas that differ":      {func(f *Facts) { f.Nodes[0].Quota = 8 << 30 }, "make them the same", nil, false},
		"an unknown quota": {func(f *Facts) {
			for i := range f.Nodes {
				f.Nodes[i].Quota = 0
			}
		}, "quota", nil, false},
		"a stray member":     {func(f *Facts) { f.Stray = []string{"old"} }, "member old", nil, false},
		"a recovery (P17)":   {func(f *Facts) { f.Recovery = "r1" }, "recovery r1", nil, false},
		"one node":           {func(f *Facts) { f.Nodes = f.Nodes[:1] }, "--accept-risk=downtime", nil, false},
		"one node, accepted": {func(f *Facts) { f.Nodes, f.AcceptDowntime = f.Nodes[:1], true }, "", []string{"cp-1"}, false},
		"no node":            {func(f *Facts) { f.Nodes = nil }, "no node", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := three()
			row.change(&f)
			p := Decide(f)
			if row.refused != "" {
				if !strings.Contains(strings.Join(p.Refused, "\n"), row.refused) {
					t.Errorf("refused: %q, want %q", p.Refused, row.refused)
				}
				return
			}
			if len(p.Refused) > 0 || !slices.Equal(p.Guard, row.guard) || p.Done != row.done {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestSpecIsWhatRuns(t *testing.T) {
	for name, row := range map[string]struct {
		quota               int64
		heartbeat, election int
		want                Spec
	}{
		"kubeadm's":        {2 << 30, 100, 1000, Spec{Quota: "2Gi", Profile: "Standard"}},
		"slow":             {8 << 30, 500, 5000, Spec{Quota: "8Gi", Profile: "Slow"}},
		"of its own":       {1500 << 20, 200, 2000, Spec{Quota: "1500Mi", Profile: "Custom", Heartbeat: 200, Election: 2000}},
		"odd bytes":        {2<<30 + 1024, 100, 1000, Spec{Quota: "2097153Ki", Profile: "Standard"}},
		"never less (P26)": {2<<30 + 1, 100, 1000, Spec{Quota: "2097153Ki", Profile: "Standard"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := three()
			for i := range f.Nodes {
				f.Nodes[i].Quota, f.Nodes[i].Heartbeat, f.Nodes[i].Election = row.quota, row.heartbeat, row.election
			}
			if p := Decide(f); p.Spec != row.want || len(p.Refused) > 0 {
				t.Errorf("%+v %v", p.Spec, p.Refused)
			}
		})
	}
}

// TestNothingIsAdoptedThatIsUnwell (I6, I23): whatever is unknown or unhealthy on any node, nothing is restarted.
func TestNothingIsAdoptedThatIsUnwell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := three()
		f.Nodes = f.Nodes[:rapid.IntRange(1, 3).Draw(t, "nodes")]
		f.AcceptDowntime = rapid.Bool().Draw(t, "accepted")
		well := true
		for i := range f.Nodes {
			n := &f.Nodes[i]
			n.Agent, n.Healthy, n.Voter = rapid.Bool().Draw(t, "agent"), rapid.Bool().Draw(t, "healthy"), rapid.Bool().Draw(t, "voter")
			n.Guarded = rapid.Bool().Draw(t, "guarded")
			well = well && n.Agent && n.Healthy && n.Voter
		}
		if p := Decide(f); !well && (len(p.Refused) == 0 || p.Done) {
			t.Fatalf("%+v", p)
		}
	})
}
