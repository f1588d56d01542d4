package rollouts

import (
	"encoding/json"
	"errors"
	"fmt"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd/rollout"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/staticpod"
)

// Target is the content that the specification asks for. What it does not set, every node keeps as it has it.
func Target(s v1alpha1.EtcdClusterSpec) (staticpod.Content, error) {
	c := staticpod.Content{Version: s.Etcd.Version, Image: s.Etcd.Image, Reason: s.ForceRedeploymentReason}
	if s.Quota != "" {
		n, err := s.Quota.Bytes()
		if err != nil {
			return c, fmt.Errorf("spec.quota: %w", err)
		}
		c.QuotaBytes = n
	}
	switch s.Timing.Profile {
	case v1alpha1.TimingStandard:
		c.HeartbeatMilliseconds, c.ElectionMilliseconds = v1alpha1.StandardHeartbeat, v1alpha1.StandardElection
	case v1alpha1.TimingSlow:
		c.HeartbeatMilliseconds, c.ElectionMilliseconds = v1alpha1.SlowHeartbeat, v1alpha1.SlowElection
	case v1alpha1.TimingCustom:
		c.HeartbeatMilliseconds, c.ElectionMilliseconds = s.Timing.HeartbeatMilliseconds, s.Timing.ElectionMilliseconds
	case "":
	default:
		return c, fmt.Errorf("spec.timing.profile %q is not one of Standard, Slow and Custom", s.Timing.Profile)
	}
	return c, nil
}

// errNotTold: the agent says nothing of revisions: it is older than this operator, or there is no etcd on its node.
var errNotTold = errors.New("its agent says nothing of the revisions of its etcd")

// stands is how a node stands to a content, as rollout.Next wants to know it. A node that has all that is asked for counts
// as having the target, under whatever name its revision has: so a specification that says what runs already restarts
// nothing. The manifest has the last word, not its name: where a person has changed what is asked for, it is placed again.
func stands(n observe.Node, leaving bool, c staticpod.Content) (rollout.Node, error) {
	target := c.Hash()
	out := rollout.Node{Name: n.Name, Leaving: leaving}
	if n.State == nil || n.Err != "" {
		return out, nil
	}
	r := n.State.GetRevisions()
	switch {
	case r == nil && c.Empty():
		// Nothing is asked for, so there is nothing that has to be known.
		out.Answers, out.Placed, out.Running, out.LastGood = true, target, target, target
		return out, nil
	case r == nil:
		return out, errNotTold
	case r.GetError() != "" && c.Empty() && r.GetPlaced() == "":
		return out, errors.New(r.GetError())
	case r.GetError() != "":
		// What runs is not known, and that is not the same as another one's running (I23).
		return out, errors.New(r.GetError())
	}
	var have staticpod.Content
	if err := json.Unmarshal(r.GetContent(), &have); err != nil {
		return out, fmt.Errorf("what its manifest holds: %w", err)
	}
	placed := r.GetPlaced()
	switch held := c.HeldBy(have); {
	case held:
		placed = target
	case placed == target:
		placed = have.Hash() + "-changed"
	}
	as := func(revision string) string {
		if revision != "" && revision == r.GetPlaced() {
			return placed
		}
		return revision
	}
	out.Answers, out.Placed, out.Running, out.LastGood = true, placed, as(r.GetRunning()), as(r.GetLastGood())
	out.PlacedFor, out.Ill, out.RolledBackFrom = milliseconds(r), r.GetIll(), r.GetRolledBackFrom()
	return out, nil
}

// has reports whether a node was given the target itself by name: its roll-out has begun.
func has(s *agentpb.NodeState, target string) bool {
	r := s.GetRevisions()
	return r.GetPlaced() == target || r.GetRunning() == target
}
