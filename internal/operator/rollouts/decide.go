// Package rollouts brings every node's etcd to what the specification asks for: one at a time, the leader last, with a
// snapshot before another version, and stopped by the first that does not come back.
package rollouts

import (
	"fmt"
	"strings"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/rollout"
	"clusteretcd.io/ceo/internal/etcd/upgrade"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
	"clusteretcd.io/ceo/internal/staticpod"
)

// Bound is how long a node has to be healthy with a new revision: the kubelet needs up to a minute, and an etcd with a
// large database some more.
const Bound = 4 * time.Minute

// View is everything the decision is made of.
type View struct {
	observe.Observation
	// Snapshot is the version that a verified snapshot was taken for.
	Snapshot string
	Bound    time.Duration
}

// Plan is what is to be done next.
type Plan struct {
	Content staticpod.Content
	Target  string
	// Action is the roll-out's; Snapshot goes before it.
	Action   rollout.Action
	Snapshot bool
	// Upgrading: members run another version than the one that is asked for.
	Upgrading bool
	// Problem is why what is asked for cannot work. Nothing is rolled out; a node that is under way is still looked after.
	Problem *report.Note
	// Updated and Wanted count the nodes.
	Updated, Wanted int
	Cluster         etcd.View
	// UnderWay: a node was given a revision, and is waited for.
	UnderWay bool
}

// Decide answers what is to be done next.
func Decide(v View) Plan {
	membership := v.Membership()
	p := Plan{Cluster: membership.View(v.Pause())}
	if v.Cluster == nil {
		p.Action = rollout.Action{Kind: rollout.Wait, Reason: "there is no EtcdCluster"}
		return p
	}
	var err error
	if p.Content, err = Target(v.Cluster.Spec); err != nil {
		p.Action = rollout.Action{Kind: rollout.Wait, Reason: err.Error()}
		p.Problem = &report.Note{Reason: v1alpha1.ReasonVersionUnknown, Message: err.Error()}
		return p
	}
	p.Target = p.Content.Hash()
	nodes, silent := v.nodes(membership, p.Content)
	for _, n := range nodes {
		if !n.Leaving {
			p.Wanted++
			if n.Placed == p.Target && n.Running == p.Target {
				p.Updated++
			}
		}
	}
	p.Action = rollout.Next(rollout.View{Cluster: p.Cluster, Nodes: nodes, Target: p.Target, Bound: v.Bound, AcceptDowntime: true})
	for _, n := range nodes {
		if p.Action.Kind == rollout.Wait && n.Name == p.Action.Node && n.Answers {
			p.UnderWay = n.Running != n.Placed || n.LastGood != n.Placed
		}
	}
	if p.Action.Kind == rollout.Wait && silent != "" {
		p.Action.Reason += " (" + silent + ")"
	}
	begins := p.Action.Kind == rollout.Restart || p.Action.Kind == rollout.MoveLeader
	if p.Problem = v.cannotWork(membership, p.Content); p.Problem != nil {
		if begins {
			p.Action = rollout.Action{Kind: rollout.Wait, Reason: p.Problem.Message}
		}
		return p
	}
	if p.Content.Version == "" {
		return p
	}
	up := v.upgrade(membership, p)
	p.Upgrading = up.Kind != upgrade.Done
	if up.Kind == upgrade.Refuse {
		p.Problem = &report.Note{Reason: refusal(p.Content.Version), Message: up.Reason}
	}
	// What is under way is looked after in any case; nothing begins before its time.
	if begins && up.Kind != upgrade.Roll && up.Kind != upgrade.Done {
		p.Action = rollout.Action{Kind: rollout.Wait, Reason: up.Reason}
		p.Snapshot = up.Kind == upgrade.Snapshot
	}
	return p
}

// nodes are all that are wanted or have a member. silent says of the first that tells nothing why not.
func (v View) nodes(m observe.Membership, c staticpod.Content) (out []rollout.Node, silent string) {
	for _, n := range v.Nodes {
		member := false
		for _, x := range m.Members {
			member = member || x.Node == n.Name
		}
		if !n.Wanted && !member {
			continue
		}
		s, err := stands(n, !n.Wanted, c)
		if err != nil {
			if !member && n.State.GetRevisions() == nil {
				continue // it has no etcd yet, and will get it as it is to be
			}
			if silent == "" {
				silent = n.Name + ": " + err.Error()
			}
		}
		out = append(out, s)
	}
	return out, silent
}

// cannotWork is what no roll-out can mend, and what would take members down.
func (v View) cannotWork(m observe.Membership, c staticpod.Content) *report.Note {
	if why := v.LeftOut(m); why != "" {
		return &report.Note{Reason: v1alpha1.ReasonSelectorMismatch, Message: why}
	}
	for _, x := range m.Members {
		if size := x.Etcd.GetDbSize(); c.QuotaBytes > 0 && size >= c.QuotaBytes {
			return &report.Note{Reason: v1alpha1.ReasonQuotaBelowDatabase, Message: fmt.Sprintf(
				"the database of %s has %d bytes, and spec.quota is %d: with it etcd would refuse all writes; nothing is rolled out until it is larger", x.Name, size, c.QuotaBytes)}
		}
	}
	return nil
}

func (v View) upgrade(m observe.Membership, p Plan) upgrade.Action {
	u := upgrade.View{Cluster: p.Cluster, Target: p.Content.Version, Snapshot: v.Snapshot == p.Content.Version, ClusterVersion: v.Cluster.Status.ClusterVersion}
	var lowest *upgrade.Version
	known := true
	for _, x := range m.Members {
		if !x.Started() {
			continue
		}
		u.Members = append(u.Members, upgrade.Member{ID: x.ID, Version: x.Etcd.GetVersion()})
		ver, err := upgrade.Parse(x.Etcd.GetVersion())
		if known = known && err == nil; err == nil && (lowest == nil || ver.Less(*lowest)) {
			lowest = &ver
		}
		for _, a := range x.Alarms {
			u.Alarms = append(u.Alarms, a+" on "+x.Name)
		}
	}
	// Etcd's own is the lowest minor version of all members; where one is silent, what it was.
	if known && lowest != nil {
		u.ClusterVersion = lowest.Series() + ".0"
	}
	for _, n := range v.Nodes {
		u.Begun = u.Begun || has(n.State, p.Target)
	}
	return upgrade.Next(u)
}

// refusal tells a version that ceo does not know from one that is not the next.
func refusal(version string) string {
	v, err := upgrade.Parse(version)
	if err != nil || v.Less(upgrade.Oldest) || v.Major != upgrade.Newest.Major || v.Minor > upgrade.Newest.Minor {
		return v1alpha1.ReasonVersionUnknown
	}
	return v1alpha1.ReasonVersionSkew
}

func milliseconds(r *agentpb.Revisions) time.Duration {
	return time.Duration(r.GetPlacedForMs()) * time.Millisecond
}

// Report is what the status says of a plan. before is what it says now; refused is why an agent would not place the
// target, nil if none said so.
func (p Plan) Report(before *v1alpha1.RolloutStatus, refused *report.Note) report.Report {
	var r report.Report
	if p.Target == "" {
		if p.Problem != nil {
			r.Degraded = append(r.Degraded, *p.Problem)
		}
		return r
	}
	a := p.Action
	now := &v1alpha1.RolloutStatus{Hash: p.Target, State: v1alpha1.RolloutRunning, Reason: clip(p.reason()), Node: a.Node, Message: clip(a.Reason), Updated: fmt.Sprintf("%d/%d", p.Updated, p.Wanted)}
	kind := v1alpha1.ReasonRollingOut
	if p.Upgrading {
		kind = v1alpha1.ReasonUpgrading
	}
	if refused != nil {
		r.Degraded = append(r.Degraded, *refused)
	}
	if p.Problem != nil {
		r.Degraded = append(r.Degraded, *p.Problem)
		r.Upgradeable = p.Problem
	}
	switch {
	case a.Kind == rollout.Stopped:
		note := report.Note{Reason: v1alpha1.ReasonRolloutStopped, Message: a.Reason}
		now.State, r.Upgradeable = v1alpha1.RolloutStopped, &note
		r.Degraded = append(r.Degraded, note)
	case a.Kind == rollout.Done:
		now.State, now.Node, now.Message = v1alpha1.RolloutComplete, "", ""
	case p.Cluster.Pause != (etcd.Pause{}), p.Problem != nil && a.Kind == rollout.Wait && a.Revision == "":
		// It does not go on, and the conditions say why. What was said of it stays.
		now = before.DeepCopy()
	case before != nil && before.Hash == p.Target && before.State == v1alpha1.RolloutComplete && a.Kind == rollout.Wait:
		// It was over; somebody merely does not answer.
		now = before.DeepCopy()
	case p.Content.Empty() && a.Kind == rollout.Wait:
		now = before.DeepCopy()
	case a.Kind == rollout.Wait && !p.UnderWay:
		r.Progressing = &report.Note{Reason: v1alpha1.ReasonWaiting, Message: a.Reason, Waits: !p.Snapshot}
		if p.Snapshot {
			r.Progressing.Reason = kind
		}
		r.Upgradeable = either(r.Upgradeable, r.Progressing)
	default:
		r.Progressing = &report.Note{Reason: kind, Message: a.Reason}
		r.Upgradeable = either(r.Upgradeable, r.Progressing)
	}
	r.Rollout = now
	return r
}

func either(a, b *report.Note) *report.Note {
	if a != nil {
		return a
	}
	return b
}

// reason is what the roll-out was started for, in words.
func (p Plan) reason() string {
	var out []string
	if c := p.Content; !c.Empty() {
		for _, x := range []struct {
			set  bool
			text string
		}{
			{c.Reason != "", c.Reason},
			{c.Version != "", "etcd " + c.Version},
			{c.QuotaBytes != 0, fmt.Sprintf("quota %d bytes", c.QuotaBytes)},
			{c.HeartbeatMilliseconds != 0, fmt.Sprintf("heartbeat %d ms, election %d ms", c.HeartbeatMilliseconds, c.ElectionMilliseconds)},
		} {
			if x.set {
				out = append(out, x.text)
			}
		}
		return strings.Join(out, "; ")
	}
	return "nothing is asked for: every node keeps what it has"
}

func clip(s string) string {
	if len(s) <= 1024 {
		return s
	}
	return strings.ToValidUTF8(s[:1021], "") + "..."
}
