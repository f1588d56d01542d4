package observe

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/node"
)

// Member is a member of the present cluster, with what its node says of it.
type Member struct {
	etcd.Member
	// Node stands for it; empty where none does.
	Node      string
	ClientURL string
	Role      v1alpha1.MemberRole
	// Why it is not healthy; empty where it is.
	Why    string
	Alarms []string
	// State is its node's; nil where the agent does not answer.
	State *agentpb.NodeState
	// Etcd is what its etcd answered; nil where that is not known.
	Etcd *agentpb.Etcd
}

// Membership is the present cluster as far as it could be seen.
type Membership struct {
	// ClusterID is empty where nothing is known.
	ClusterID string
	Epoch     int64
	Lineage   node.Lineage
	// Listed: an etcd of this cluster gave its members. Serves: it gave them with a quorum's consent, which is the proof
	// that one serves.
	Listed, Serves bool
	// Members by name, then id.
	Members []Member
	Leader  uint64
	// Conflict is why the nodes' lineages cannot be merged.
	Conflict string
}

// Membership joins the lists of members with the nodes that stand for them.
func (o Observation) Membership() Membership {
	var m Membership
	m.Lineage, m.Conflict = o.lineage()
	if g, ok := m.Lineage.Current(); ok {
		m.ClusterID, m.Epoch = g.ClusterID, g.Epoch
	}
	var best *agentpb.Etcd
	for _, n := range o.Nodes {
		e := n.State.GetEtcd()
		if !e.GetAnswers() || len(e.GetMembers()) == 0 || m.ClusterID != "" && e.GetClusterId() != m.ClusterID {
			continue
		}
		if best == nil || e.GetMembersLinearizable() && !best.GetMembersLinearizable() ||
			e.GetMembersLinearizable() == best.GetMembersLinearizable() && e.GetRaftAppliedIndex() > best.GetRaftAppliedIndex() {
			best = e
		}
	}
	if best == nil {
		return m
	}
	m.ClusterID, m.Listed, m.Serves = best.GetClusterId(), true, best.GetMembersLinearizable()
	for _, x := range best.GetMembers() {
		m.Members = append(m.Members, o.member(m.ClusterID, x))
	}
	for i, x := range m.Members {
		if x.Role == v1alpha1.RoleLeader {
			m.Leader = x.ID
		}
		m.Members[i].Alarms = alarmsOf(x.ID, m.Members)
		m.Members[i].Corrupt = slices.Contains(m.Members[i].Alarms, "CORRUPT") || fencedAsCorrupt(x)
	}
	slices.SortFunc(m.Members, func(a, b Member) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(node.FormatID(a.ID), node.FormatID(b.ID))
	})
	return m
}

// lineage merges what every node knows of the epochs.
func (o Observation) lineage() (node.Lineage, string) {
	var all node.Lineage
	var conflict string
	for _, n := range o.Nodes {
		if c := n.State.GetLineageConflict(); c != "" {
			conflict = n.Name + ": " + c
		}
		var l node.Lineage
		for _, g := range n.State.GetLineage() {
			l = append(l, node.Generation{Epoch: g.GetEpoch(), ClusterID: g.GetClusterId(), Since: g.GetSince().AsTime(), Recovery: g.GetRecovery()})
		}
		merged, _, err := all.Merge(l)
		if err != nil {
			conflict = n.Name + ": " + err.Error()
			continue
		}
		all = merged
	}
	return all, conflict
}

func (o Observation) member(clusterID string, x *agentpb.Member) Member {
	id, _ := strconv.ParseUint(x.GetId(), 16, 64) // agents print it themselves
	m := Member{
		Member: etcd.Member{ID: id, Name: x.GetName(), Learner: x.GetLearner()},
		Role:   v1alpha1.RoleUnknown, ClientURL: first(x.GetClientUrls()),
	}
	m.PeerURL = first(x.GetPeerUrls())
	n, ok := o.standsFor(x)
	if m.Learner {
		m.Role = v1alpha1.RoleLearner
	}
	if !m.Started() {
		m.Role = v1alpha1.RoleUnstarted
	}
	if ok {
		m.Node, m.State = n.Name, n.State
	}
	switch {
	case !ok:
		m.Why = "no node is known that stands for it"
	case n.State == nil:
		m.Why = n.Err
	case !m.Started():
		m.Health, m.Why = etcd.Unhealthy, "it was added and has not started"
	default:
		m.judge(clusterID, x.GetId())
	}
	m.Restarting = m.Restarting || restarting(n.State)
	return m
}

// standsFor finds a member's node: by name, else by address (P20).
func (o Observation) standsFor(x *agentpb.Member) (Node, bool) {
	if x.GetName() != "" {
		return o.Node(x.GetName())
	}
	u, err := url.Parse(first(x.GetPeerUrls()))
	if err != nil {
		return Node{}, false
	}
	for _, n := range o.Nodes {
		if n.Address == u.Hostname() && n.Address != "" {
			return n, true
		}
	}
	return Node{}, false
}

// judge says how a member is by what its node says. Only what was seen counts: an etcd that does not answer in time is
// unknown, one whose port is closed or that the guard holds is down (I23).
func (m *Member) judge(clusterID, id string) {
	e, g := m.State.GetEtcd(), m.State.GetGuard()
	switch {
	case e.GetAnswers() && e.GetClusterId() != clusterID:
		m.Health, m.Why = etcd.Unhealthy, "its node runs an etcd of another cluster, "+e.GetClusterId()
	case e.GetAnswers() && e.GetMemberId() != id:
		m.Health, m.Why = etcd.Unhealthy, "its node runs another member, "+e.GetMemberId()
	case e.GetAnswers():
		m.Etcd = e
		m.Applied, m.Restarting = e.GetRaftAppliedIndex(), e.GetDefragmenting()
		switch {
		case e.GetHasLeader() && e.GetLeaderId() == id:
			m.Role = v1alpha1.RoleLeader
		case e.GetHasLeader() && !m.Learner:
			m.Role = v1alpha1.RoleFollower
		}
		m.Health = etcd.Healthy
		if !e.GetHasLeader() {
			m.Health, m.Why = etcd.Unhealthy, "it has no leader"
		}
	case slices.Contains([]string{"held", "waiting", "refused"}, g.GetState()):
		m.Health, m.Why = etcd.Unhealthy, fmt.Sprintf("its etcd does not run, the guard says %s: %s", g.GetState(), g.GetReason())
	case strings.Contains(e.GetError(), "connection refused"):
		m.Health, m.Why = etcd.Unhealthy, "its etcd does not run: nothing listens on its port"
	default:
		m.Why = "its etcd does not answer its own node in time"
	}
}

// alarm is how etcd prints one; the id is decimal.
var alarm = regexp.MustCompile(`memberID:(\d+) +alarm:([A-Z]+)`)

// alarmsOf are the alarms that a member has raised: each etcd reports those of all.
func alarmsOf(id uint64, ms []Member) []string {
	var out []string
	for _, m := range ms {
		for _, a := range m.Etcd.GetAlarms() {
			for _, f := range alarm.FindAllStringSubmatch(a, -1) {
				if f[1] == strconv.FormatUint(id, 10) && !slices.Contains(out, f[2]) {
					out = append(out, f[2])
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// View is what the decisions of internal/etcd are made of. A member's time without health is not counted here.
func (m Membership) View(p etcd.Pause) etcd.View {
	v := etcd.View{Leader: m.Leader, Pause: p}
	for _, x := range m.Members {
		v.Members = append(v.Members, x.Member)
	}
	return v
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
