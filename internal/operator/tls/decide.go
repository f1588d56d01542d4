// Package tls changes etcd's CA where the specification asks for it: bundle first, certificates after, and the old CA out
// last, with one restart at a time.
package tls

import (
	"fmt"
	"slices"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
	"clusteretcd.io/ceo/internal/pki/rotation"
)

// View is everything the decision is made of.
type View struct {
	observe.Observation
	// Made is a CA that this operator made and that not every node may have yet; "" for none. A new operator has none, and
	// makes another.
	Made string
	// RollOut is what the rollouts controller is in the middle of; "" for nothing.
	RollOut string
}

// Plan is what is to be done next.
type Plan struct {
	// Active: a change is asked for, or one is under way.
	Active bool
	// Make: a CA is to be made first; it is the one to go to.
	Make bool
	// For is what the change is for, in the words of who asked.
	For    string
	Next   string
	Action rotation.Action
	// MoveTo: the node of the action leads, and hands over to this member first.
	MoveTo   uint64
	MemberID uint64
	// WaitingFor are the nodes that have not done the phase.
	WaitingFor []string
	Cluster    etcd.View
}

// Acts reports whether there is anything to be done now.
func (p Plan) Acts() bool {
	return p.Active && (p.Make || p.Action.Kind != rotation.Wait && p.Action.Kind != rotation.Done)
}

// Restarts reports whether that takes something out of service for a while.
func (p Plan) Restarts() bool {
	return !p.Make && (p.Action.Kind == rotation.RestartEtcd || p.Action.Kind == rotation.RestartAPIServer)
}

// Decide answers what is to be done next. What a change is for lies on the nodes, so that neither a new operator, nor an
// EtcdCluster that was made anew with the same text, begins the same one again (I20).
func Decide(v View) Plan {
	m := v.Membership()
	p := Plan{Cluster: m.View(v.Pause())}
	if v.Cluster == nil {
		return p
	}
	nodes := v.nodes()
	want := v.Cluster.Spec.TLS.CARotationReason
	asked := want != "" && !slices.ContainsFunc(nodes, func(n rotation.Node) bool { return n.Reason == want && n.Signing == n.Target })
	begun := slices.IndexFunc(nodes, func(n rotation.Node) bool { return n.Unknown == "" && rotation.Unfinished(n) })
	unknown := slices.ContainsFunc(nodes, func(n rotation.Node) bool { return n.Unknown != "" })
	was := v.Cluster.Status.CARotation
	switch t := rotation.Target(nodes); {
	case unknown && !asked && begun < 0 && (was == nil || was.Phase == v1alpha1.CAComplete):
		return p // nothing is to be done, so it need not be known
	case unknown:
		// Which CA it leads to may be known to the one that is silent alone.
		p.Next, p.For = guess(nodes, v.Made), want
	case t != "":
		p.Next = t
		p.For = nodes[slices.IndexFunc(nodes, func(n rotation.Node) bool { return n.Target == t })].Reason
	case begun >= 0 || asked:
		p.For = want
		if !asked || want == "" {
			p.For = nodes[begun].Reason
		}
		p.Next, p.Make = v.Made, v.Made == ""
	default:
		// The last one is over, or there was none.
		if i := slices.IndexFunc(nodes, func(n rotation.Node) bool { return n.Target != "" }); i >= 0 {
			p.For, p.Next, p.Action = nodes[i].Reason, nodes[i].Target, rotation.Action{Kind: rotation.Done, Phase: rotation.Complete}
		}
		return p
	}
	p.Active = true
	p.Action = rotation.Decide(p.Next, nodes)
	p.WaitingFor = rotation.WaitingFor(p.Action.Phase, p.Next, nodes)
	wait := func(format string, args ...any) Plan {
		p.Make, p.Action.Kind, p.Action.Reason = false, rotation.Wait, fmt.Sprintf(format, args...)
		return p
	}
	if may := p.Cluster.Pause.MayAct(); !may.OK {
		return wait("%s", may.Reason)
	}
	if p.Action.Kind == rotation.Wait {
		p.Make = false
		return p
	}
	if p.Make {
		p.Action.Reason = "a new CA is made: " + p.For
		return p
	}
	if p.Restarts() {
		if why := v.unsettled(m); why != "" {
			return wait("%s; before that, %s", p.Action.Reason, why)
		}
		p.handOver(nodes)
	}
	return p
}

// nodes are all that are known: what one that leaves trusts and shows counts as well.
func (v View) nodes() []rotation.Node {
	var states []*agentpb.NodeState
	for _, n := range v.Nodes {
		if n.State == nil || n.Err != "" {
			// An answer of before says nothing about now.
			why := n.Err
			if why == "" {
				why = "its agent does not answer"
			}
			states = append(states, &agentpb.NodeState{Name: n.Name, Unreachable: why})
			continue
		}
		states = append(states, n.State)
	}
	return agentclient.RotationNodes(states)
}

func guess(nodes []rotation.Node, made string) string {
	for _, n := range nodes {
		if n.Target != "" && n.Unknown == "" && rotation.Unfinished(n) {
			return n.Target
		}
	}
	return made
}

// unsettled is why nothing may be restarted now: whatever was restarted last, by whom ever, has to be back first (I6, P22).
func (v View) unsettled(m observe.Membership) string {
	if v.RollOut != "" {
		return "the roll-out goes first: " + v.RollOut
	}
	if !m.Serves {
		return "etcd has to serve: no quorum gave its list of members"
	}
	for _, x := range m.Members {
		switch {
		case x.Restarting:
			return x.Name + " has to be through its own restart"
		case x.Health != etcd.Healthy:
			return fmt.Sprintf("every member has to be healthy: %s is %s: %s", x.Name, x.Health, x.Why)
		}
	}
	for _, n := range v.Nodes {
		for _, mf := range n.State.GetManifests() {
			if mf.GetName() == "kube-apiserver" && mf.GetState() == "in-service" && !n.State.GetApiServer().GetReady() {
				return "kube-apiserver on " + n.Name + " has to be ready"
			}
		}
	}
	return ""
}

// handOver lets the leader, which is the last, give its lead away first.
func (p *Plan) handOver(nodes []rotation.Node) {
	member, ok := p.Cluster.MemberOf(p.Action.Node)
	all, _ := p.Cluster.Voters()
	if p.Action.Kind != rotation.RestartEtcd || !ok || member.ID != p.Cluster.Leader || all == 1 {
		return
	}
	p.MemberID = member.ID
	if to, ok := etcd.Successor(p.Cluster, member.ID, nil); ok {
		p.MoveTo = to.ID
		p.Action.Reason = fmt.Sprintf("%s, and leads: the leadership is handed to %s first", p.Action.Reason, p.Cluster.Label(to.ID))
	}
}

// Report is what the status says of a plan.
func (p Plan) Report(before *v1alpha1.CARotationStatus) report.Report {
	var r report.Report
	switch {
	case p.Active && p.Action.Kind != rotation.Done:
		r.Progressing = &report.Note{Reason: v1alpha1.ReasonRotatingCA, Message: p.Action.Reason}
		if !p.Acts() {
			r.Progressing.Reason, r.Progressing.Waits = v1alpha1.ReasonWaiting, true
		}
		r.Upgradeable = r.Progressing
		r.CARotation = &v1alpha1.CARotationStatus{Reason: p.For, Phase: v1alpha1.CARotationPhase(p.Action.Phase), WaitingFor: p.WaitingFor}
		if p.Action.Kind == rotation.Wait && before != nil && before.Phase != v1alpha1.CAComplete && p.Next == "" {
			r.CARotation = before.DeepCopy()
		}
	case p.Next != "":
		r.CARotation = &v1alpha1.CARotationStatus{Reason: p.For, Phase: v1alpha1.CAComplete}
	}
	return r
}
