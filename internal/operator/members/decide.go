// Package members keeps etcd's members in step with the control-plane nodes: it adds, promotes, replaces and removes, one
// change at a time, by the one decision of internal/etcd.
package members

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// DefaultUnhealthyTimeout is spec.unhealthyTimeout where it is not set. Zero would mean at once, which is for a person in
// a recovery alone.
const DefaultUnhealthyTimeout = 5 * time.Minute

// memory is what is kept from look to look. An operator that starts anew begins with none: what it counts then ends later
// than necessary, and never too early (I23).
type memory struct {
	// at is when the last look began.
	at                  time.Time
	unhealthy, unwanted map[uint64]etcd.Elapsed
	// revision is the leader's at the last look: what a learner must have applied (I8).
	revision int64
}

// gathered is what a decision is made of.
type gathered struct {
	view       etcd.View
	membership observe.Membership
	// frozen: the alarm CORRUPT is raised, so that etcd refuses the lock, too.
	frozen bool
	// unknown is why nothing can be decided; empty where it can.
	unknown string
}

// gather makes a decision's view of one look and of what was remembered. An agent's answer that only stands in for a late
// one is not used: a member is counted on, or given up, by its own word of now and by no other (I6, I23).
func gather(o observe.Observation, before memory) (gathered, memory) {
	pause := o.Pause()
	o = fresh(o)
	m := o.Membership()
	g := gathered{membership: m, view: m.View(pause)}
	g.view.UnhealthyTimeout = timeout(o.Cluster)
	switch {
	case m.Conflict != "":
		g.unknown = "the nodes do not agree on which cluster lives: " + m.Conflict
	case !m.Listed:
		g.unknown = "no etcd of this cluster gave its members"
	case !m.Serves:
		// An old list proves no absence, and without a quorum nothing could be changed anyhow.
		g.unknown = "no quorum gave the members"
	default:
		g.unknown = o.LeftOut(m)
	}
	for _, n := range o.Nodes {
		if n.Wanted {
			g.view.Nodes = append(g.view.Nodes, desired(n, m))
		}
	}
	since := o.At.Sub(before.at)
	after := memory{at: o.At, unhealthy: map[uint64]etcd.Elapsed{}, unwanted: map[uint64]etcd.Elapsed{}}
	if g.unknown != "" {
		// Nothing was seen of the members: their counts stay as they are.
		after.unhealthy, after.unwanted = before.unhealthy, before.unwanted
		return g, after
	}
	for i, x := range m.Members {
		v := &g.view.Members[i]
		g.frozen = g.frozen || slices.Contains(x.Alarms, "CORRUPT")
		fill(v, x, g.view.Nodes)
		v.CaughtUp = v.Learner && etcd.CaughtUp(applied(x), before.revision, since)
		if v.ID == g.view.Leader {
			after.revision = x.Etcd.GetRevision()
		}
	}
	unwanted := g.view.Unwanted()
	for i := range g.view.Members {
		v := &g.view.Members[i]
		after.unhealthy[v.ID] = before.unhealthy[v.ID].Look(v.Health != etcd.Healthy, since)
		after.unwanted[v.ID] = before.unwanted[v.ID].Look(slices.Contains(unwanted, v.ID), since)
		v.UnhealthyFor, v.UnwantedFor = after.unhealthy[v.ID].For, after.unwanted[v.ID].For
	}
	return g, after
}

// fresh is the observation without the answers that are not of this look.
func fresh(o observe.Observation) observe.Observation {
	o.Nodes = slices.Clone(o.Nodes)
	for i, n := range o.Nodes {
		if n.Err != "" {
			o.Nodes[i].State = nil
		}
	}
	return o
}

func timeout(c *v1alpha1.EtcdCluster) time.Duration {
	if c == nil || c.Spec.UnhealthyTimeout.Duration <= 0 {
		return DefaultUnhealthyTimeout
	}
	return c.Spec.UnhealthyTimeout.Duration
}

// desired is a node that is to have a member, by its own word; silence says nothing (I23).
func desired(n observe.Node, m observe.Membership) etcd.Node {
	out := etcd.Node{Name: n.Name}
	d, g := n.State.GetDataDir(), n.State.GetGuard()
	// "none" is seen, not assumed: a data dir that cannot be looked at is "unknown".
	if empty := d.GetState() == "none"; empty && slices.Contains([]string{"waiting", "refused"}, g.GetState()) {
		out.Waiting, out.Wiped = g.GetNeeds() == "add", g.GetNeeds() == "replace"
	}
	if d.GetState() == "present" && d.GetClusterId() == m.ClusterID {
		out.Holds, _ = strconv.ParseUint(d.GetMemberId(), 16, 64) // agents print it themselves
	}
	out.PeerURL = peerURL(n, m, out.Holds)
	return out
}

// peerURL is where the node's etcd is, or will be, reached by its peers. The node itself knows best: its guard looks for
// itself in the membership by that address. A Node's InternalIP counts only where etcd itself says that it serves its
// clients there: on a machine with several addresses it may well be another network's (P20).
func peerURL(n observe.Node, m observe.Membership, holds uint64) string {
	var own *observe.Member
	for i, x := range m.Members {
		if x.ID == holds && holds != 0 || x.Name == n.Name && (own == nil || own.ID != holds) {
			own = &m.Members[i]
		}
	}
	said := n.State.GetPeerUrl()
	switch {
	case n.State == nil && own != nil:
		return own.PeerURL // nothing is known of another
	case said == "":
		return (&url.URL{Scheme: "https", Host: hostPort(n.Address, "2380")}).String()
	case own != nil && own.ID == holds && host(own.ClientURL) == n.Address && host(own.PeerURL) != n.Address && n.Address != "":
		return at(said, n.Address)
	}
	return said
}

func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// at is the URL with another host.
func at(raw, address string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.Host = hostPort(address, u.Port())
	return u.String()
}

func hostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" {
		return host
	}
	return host + ":" + port
}

// fill completes what the observation knows of a member.
func fill(v *etcd.Member, x observe.Member, nodes []etcd.Node) {
	if x.State.GetRevisions().GetError() != "" {
		// A revision that cannot be told is as good as another one: its vote is not counted on (P22).
		v.Restarting = true
	}
	if !v.Started() {
		if e := x.State.GetEtcd(); x.State != nil && e.GetMemberId() == strconv.FormatUint(v.ID, 16) && e.GetAnswers() && e.GetHasLeader() {
			// It runs and has not published its name yet: its own word counts.
			v.Name, v.Health = x.State.GetName(), etcd.Healthy
		}
		return
	}
	// A machine at another address without this member's data speaks for itself: the member's own may only be cut off.
	i := slices.IndexFunc(nodes, func(n etcd.Node) bool { return n.Name == v.Name })
	if v.Health == etcd.Unhealthy && i >= 0 && nodes[i].PeerURL != v.PeerURL && nodes[i].Holds != v.ID {
		v.Health = etcd.Unknown
	}
}

// applied is the revision that a member has applied. Its metrics answer before its client port does.
func applied(x observe.Member) int64 {
	e := x.State.GetEtcd()
	return max(e.GetMetricsRevision(), e.GetRevision())
}

// through is the node whose agent makes the change: the leader's own to hand the leadership over, else that of a healthy
// voter that is not the one concerned; the leader first, as it knows no later than any other.
func through(g gathered, a etcd.Action) (string, bool) {
	best, concerned := "", false
	for _, x := range g.membership.Members {
		if x.Learner || x.Health != etcd.Healthy || x.Node == "" || x.State == nil || x.Corrupt {
			continue
		}
		switch {
		case a.Kind == etcd.MoveLeader && x.ID == a.MemberID:
			return x.Node, true
		case a.Kind == etcd.MoveLeader, a.Kind == etcd.Remove && x.ID == a.MemberID:
		case x.ID == g.view.Leader && x.ID != a.MemberID:
			return x.Node, true
		case best == "" || concerned && x.ID != a.MemberID:
			best, concerned = x.Node, x.ID == a.MemberID
		}
	}
	return best, best != ""
}

// request is the call that makes the change, with what it was decided on.
func request(g gathered, a etcd.Action) *agentpb.ChangeMembersRequest {
	id := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 16)
	}
	r := &agentpb.ChangeMembersRequest{
		Kind: string(a.Kind), MemberId: id(a.MemberID), To: id(a.To), ClusterId: g.membership.ClusterID, Reason: a.Reason,
		// With CORRUPT raised nobody can take the lock, and what is corrupt has to go all the same.
		Frozen: g.frozen && (a.Kind == etcd.Remove || a.Kind == etcd.MoveLeader),
	}
	if a.Kind == etcd.AddLearner || a.Kind == etcd.UpdatePeerURL {
		r.PeerUrl = a.PeerURL
	}
	for _, m := range g.view.Members {
		health := m.Health
		switch { // a vote that is not counted on here must not be counted there
		case m.Corrupt:
			health = etcd.Unhealthy
		case m.Restarting && health == etcd.Healthy:
			health = etcd.Unknown
		}
		r.DecidedOn = append(r.DecidedOn, &agentpb.DecidedMember{Id: id(m.ID), Learner: m.Learner, PeerUrl: m.PeerURL, Health: health.String()})
	}
	return r
}

// progress is what the controller does, or waits for, as the condition Progressing shows it. The zero value is: nothing.
type progress struct {
	// Active: something is being changed. Otherwise it waits.
	Active bool
	// Reason is one of the API's reasons of Progressing.
	Reason, Message string
}

// doing is what people are shown of a decision.
func doing(g gathered, a etcd.Action) progress {
	if a.Kind == etcd.Settled || g.view.Pause != (etcd.Pause{}) {
		return progress{} // a pause says so by itself
	}
	_, learner := g.view.Learner()
	wanted := slices.ContainsFunc(g.view.Nodes, func(n etcd.Node) bool { return n.Name == a.Node })
	d := progress{Active: a.Changes() || learner, Reason: v1alpha1.ReasonWaiting, Message: a.Reason}
	switch {
	case a.Kind == etcd.AddLearner, a.Kind == etcd.Wait && learner:
		d.Reason = v1alpha1.ReasonAdding
	case a.Kind == etcd.Promote:
		d.Reason = v1alpha1.ReasonPromoting
	case a.Kind == etcd.UpdatePeerURL, a.Changes() && wanted:
		d.Reason = v1alpha1.ReasonReplacing
	case a.Changes():
		d.Reason = v1alpha1.ReasonRemoving
	}
	return d
}
