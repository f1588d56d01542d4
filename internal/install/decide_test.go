package install

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/etcd"
)

// voters makes members 1, 2, … with the healths given.
func voters(healths ...etcd.Health) []etcd.Member {
	var ms []etcd.Member
	for i, h := range healths {
		ms = append(ms, etcd.Member{ID: uint64(i) + 1, Name: "cp-" + string(rune('1'+i)), Health: h})
	}
	return ms
}

// fresh is a kubeadm node that never had ceo.
func fresh(members ...etcd.Member) Facts {
	return Facts{
		Node: "cp-1", Image: "ceo:1", ImagePresent: true, AgentCert: "there is none", AdminCert: "there is none", OperatorCert: "there is none",
		Self: 1, Leader: 2, Members: members, Why: map[uint64]string{},
	}
}

// done is a node where all is well.
func done(members ...etcd.Member) Facts {
	return Facts{
		Node: "cp-1", Image: "ceo:1", ImagePresent: true, Guarded: true, EtcdCurrent: true, KubeadmSaved: true,
		AgentPlaced: true, AgentCurrent: true, ConfigCurrent: true, Self: 1, Leader: 2, Members: members, Why: map[uint64]string{},
	}
}

func with(f Facts, change func(*Facts)) Facts {
	change(&f)
	return f
}

const h, u = etcd.Healthy, etcd.Unknown

func TestDecideInstall(t *testing.T) {
	three := voters(h, h, h)
	for name, row := range map[string]struct {
		facts    Facts
		downtime bool
		want     []Action
		refused  string
		err      string
	}{
		"kubeadm's node":                    {facts: fresh(three...), want: []Action{IssueAgentCert, IssueAdminCert, IssueOperatorCert, WriteConfig, SaveKubeadm, PlaceAgent, RestartEtcd}},
		"the leader":                        {facts: with(fresh(three...), func(f *Facts) { f.Leader = 1 }), want: []Action{IssueAgentCert, IssueAdminCert, IssueOperatorCert, WriteConfig, SaveKubeadm, PlaceAgent, MoveLeader, RestartEtcd}},
		"all is well":                       {facts: done(three...)},
		"all is well, no image needed":      {facts: with(done(three...), func(f *Facts) { f.ImagePresent = false })},
		"all is well, a peer is down":       {facts: done(voters(h, u, h)...)},
		"another image":                     {facts: with(done(three...), func(f *Facts) { f.EtcdCurrent, f.AgentCurrent = false, false }), want: []Action{PlaceAgent, RestartEtcd}},
		"kubeadm upgrade took the guard":    {facts: with(done(three...), func(f *Facts) { f.Guarded, f.EtcdCurrent = false, false }), want: []Action{SaveKubeadm, RestartEtcd}},
		"killed before the swap":            {facts: with(done(three...), func(f *Facts) { f.Guarded, f.EtcdCurrent, f.KubeadmCurrent = false, false, true }), want: []Action{RestartEtcd}},
		"P9: certificate near its end":      {facts: with(done(three...), func(f *Facts) { f.AgentCert = "ends" }), want: []Action{IssueAgentCert}},
		"a new peer":                        {facts: with(done(three...), func(f *Facts) { f.ConfigCurrent = false }), want: []Action{WriteConfig}},
		"this member is down, others not":   {facts: fresh(voters(u, h, h)...), want: []Action{IssueAgentCert, IssueAdminCert, IssueOperatorCert, WriteConfig, SaveKubeadm, PlaceAgent, RestartEtcd}},
		"one member":                        {facts: fresh(voters(h)...), refused: "--accept-risk=downtime"},
		"one member, accepted":              {facts: fresh(voters(h)...), downtime: true, want: []Action{IssueAgentCert, IssueAdminCert, IssueOperatorCert, WriteConfig, SaveKubeadm, PlaceAgent, RestartEtcd}},
		"two members":                       {facts: fresh(voters(h, h)...), refused: "--accept-risk=downtime"},
		"two members, accepted":             {facts: fresh(voters(h, h)...), downtime: true, want: []Action{IssueAgentCert, IssueAdminCert, IssueOperatorCert, WriteConfig, SaveKubeadm, PlaceAgent, RestartEtcd}},
		"two members, one down, accepted":   {facts: fresh(voters(h, u)...), downtime: true, refused: "only 0 of 2"},
		"I6: three members, one down":       {facts: fresh(voters(h, u, h)...), refused: "only 1 of 3"},
		"I6: no consent covers it":          {facts: fresh(voters(h, u, h)...), downtime: true, refused: "only 1 of 3"},
		"I6: five members, two down":        {facts: fresh(voters(h, u, h, u, h)...), refused: "only 2 of 5"},
		"five members, one down":            {facts: fresh(voters(h, h, h, u, h)...), want: []Action{IssueAgentCert, IssueAdminCert, IssueOperatorCert, WriteConfig, SaveKubeadm, PlaceAgent, RestartEtcd}},
		"I6: a learner is no voter":         {facts: fresh(append(voters(h, u), etcd.Member{ID: 3, Learner: true, Health: h})...), refused: "only 0 of 2"},
		"a hold":                            {facts: with(done(three...), func(f *Facts) { f.Busy = "held by a recovery" }), refused: "held by a recovery"},
		"P9: etcd's certificate is expired": {facts: with(fresh(three...), func(f *Facts) { f.Expired = []string{"peer.crt"} }), refused: "certs renew"},
		"P28: no image":                     {facts: with(fresh(three...), func(f *Facts) { f.ImagePresent = false }), err: "image ceo:1 is not on this node"},
		"P20: not a member":                 {facts: with(fresh(three...), func(f *Facts) { f.Self = 0 }), err: "not in etcd's member list"},
		"kubeadm's manifest was lost":       {facts: with(done(three...), func(f *Facts) { f.KubeadmSaved = false }), err: "not kept"},
	} {
		t.Run(name, func(t *testing.T) {
			checkPlan(t, DecideInstall, row.facts, row.downtime, row.want, row.refused, row.err)
		})
	}
}

func TestDecideUninstall(t *testing.T) {
	three := voters(h, h, h)
	for name, row := range map[string]struct {
		facts    Facts
		downtime bool
		want     []Action
		refused  string
		err      string
	}{
		"installed":                         {facts: done(three...), want: []Action{RestartEtcd, RemoveAgent}},
		"the leader":                        {facts: with(done(three...), func(f *Facts) { f.Leader = 1 }), want: []Action{MoveLeader, RestartEtcd, RemoveAgent}},
		"kube-apiserver's list was changed": {facts: with(done(three...), func(f *Facts) { f.ServersChanged = true }), want: []Action{RestartEtcd, RemoveAgent, PutServersBack}},
		"killed before the list was back":   {facts: with(fresh(three...), func(f *Facts) { f.ServersChanged = true }), want: []Action{PutServersBack}},
		"never installed":                   {facts: fresh(three...)},
		"killed half-way":                   {facts: with(done(three...), func(f *Facts) { f.Guarded = false }), want: []Action{RemoveAgent}},
		"one member":                        {facts: done(voters(h)...), refused: "--accept-risk=downtime"},
		"I6: three members, one down":       {facts: done(voters(h, u, h)...), refused: "only 1 of 3"},
		"P25: this member is not healthy":   {facts: done(voters(u, h, h)...), refused: "not healthy"},
		"P25: this node is no member":       {facts: with(done(three...), func(f *Facts) { f.Self = 9 }), refused: "not healthy"},
		"a recovery is open":                {facts: with(done(three...), func(f *Facts) { f.Busy = "recovery r1 is open" }), refused: "r1"},
		"kubeadm's manifest was lost":       {facts: with(done(three...), func(f *Facts) { f.KubeadmSaved = false }), err: "not kept"},
		"P9: etcd's certificate is expired": {facts: with(done(three...), func(f *Facts) { f.Expired = []string{"peer.crt"} }), refused: "certs renew"},
	} {
		t.Run(name, func(t *testing.T) {
			checkPlan(t, DecideUninstall, row.facts, row.downtime, row.want, row.refused, row.err)
		})
	}
}

func checkPlan(t *testing.T, decide func(Facts, bool) (Plan, error), f Facts, downtime bool, want []Action, refused, fails string) {
	t.Helper()
	plan, err := decide(f, downtime)
	var unsafe *RefusedError
	switch {
	case refused != "":
		if !errors.As(err, &unsafe) || !strings.Contains(err.Error(), refused) || unsafe.ExitCode() != 4 {
			t.Fatalf("got %v, want a refusal with %q", err, refused)
		}
	case fails != "":
		if err == nil || errors.As(err, &unsafe) || !strings.Contains(err.Error(), fails) {
			t.Fatalf("got %v, want an error with %q", err, fails)
		}
	case err != nil:
		t.Fatal(err)
	}
	if err != nil && len(plan.Steps) > 0 && plan.Restarts() {
		t.Fatal("a refused plan restarts etcd")
	}
	if err != nil {
		return
	}
	var got []Action
	for _, s := range plan.Steps {
		got = append(got, s.Do)
		if s.Text == "" {
			t.Error("a step without words")
		}
	}
	if len(got) != len(want) {
		t.Fatalf("steps %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("steps %v, want %v", got, want)
		}
	}
}

// I6: whatever is seen, etcd is restarted only where the healthy rest is a quorum, or where a person accepted the pause and
// every voter is well.
func TestNoRestartCostsTheQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "members")
		f := fresh()
		f.Members = nil
		for i := range n {
			f.Members = append(f.Members, etcd.Member{
				ID: uint64(i) + 1, Name: "m", Learner: rapid.Bool().Draw(t, "learner"),
				Health: rapid.SampledFrom([]etcd.Health{etcd.Unknown, etcd.Healthy, etcd.Unhealthy}).Draw(t, "health"),
			})
		}
		f.Leader = uint64(rapid.IntRange(0, n).Draw(t, "leader"))
		f.Guarded = rapid.Bool().Draw(t, "guarded")
		f.KubeadmSaved = rapid.Bool().Draw(t, "saved")
		accept := rapid.Bool().Draw(t, "accept")
		decide := rapid.SampledFrom([]func(Facts, bool) (Plan, error){DecideInstall, DecideUninstall}).Draw(t, "verb")
		plan, err := decide(f, accept)
		if err != nil || !plan.Restarts() || f.Members[0].Learner {
			return
		}
		all, rest := 0, 0
		for i, m := range f.Members {
			if m.Learner {
				continue
			}
			all++
			if i != 0 && m.Health == etcd.Healthy {
				rest++
			}
		}
		whole := f.Members[0].Health == etcd.Healthy && rest == all-1
		if rest < all/2+1 && (!accept || all > 2 || !whole) {
			t.Fatalf("restarts with %d healthy others of %d voters, accepted=%v", rest, all, accept)
		}
	})
}
