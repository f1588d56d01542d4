// Package rotation decides the next step of a change of etcd's CA: bundle first, leaves after, and the old CA out last. It
// is pure: from what every node reports to one action on one node, with its reason.
package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Node is what one control-plane node reports. Fingerprints name CAs.
type Node struct {
	Name string
	// Unknown says why the node, or a part of this, could not be looked at: unreachable, etcd does not answer. Then
	// nothing at all is done (I23): it may trust, or show, anything.
	Unknown string
	// Trusted are the CAs in its bundle, Signing the one that it issues with.
	Trusted []string
	Signing string
	// Leaves are the certificates that it serves or presents.
	Leaves []Leaf
	// EtcdTrusts is what the etcd that runs here verifies with: it reads the bundle when it starts, and never again.
	EtcdTrusts []string
	// APIServerStale: the kube-apiserver that runs here may have read the bundle before other CAs were in it.
	APIServerStale bool
	// Target is the CA that the node was last told to trust, and Reason what for.
	Target, Reason string
	// Leads: its etcd is the leader, which is restarted last.
	Leads bool
}

// Leaf is one certificate; SignedBy is empty if no CA that the node trusts signed it.
type Leaf struct{ Name, SignedBy string }

// Kind of an action.
type Kind string

// The actions. A restart is for the one path that all restarts of etcd take: under the cluster's lock, one at a time, with
// the quorum checked before and the health after (I6).
const (
	Wait             Kind = "wait"
	Trust            Kind = "trust"
	RestartEtcd      Kind = "restart-etcd"
	RestartAPIServer Kind = "restart-apiserver"
	Sign             Kind = "sign"
	Forget           Kind = "forget"
	Done             Kind = "done"
)

// Phase of a change, by the names of the API.
type Phase string

// The phases.
const (
	TrustBoth   Phase = "TrustBoth"
	IssueLeaves Phase = "IssueLeaves"
	TrustNew    Phase = "TrustNew"
	Complete    Phase = "Complete"
)

// Action is the next thing to do.
type Action struct {
	Kind Kind
	Node string
	// CA to trust, sign with or forget.
	CA     string
	Phase  Phase
	Reason string
}

// Target is the CA that a change under way leads to, "" where none is, or where it cannot be gone on with: the new one was
// not trusted everywhere yet, and its key may be in nobody's hand. Then one begins anew, with another CA; the one that was
// left signs nothing, and is forgotten with the old.
//
// The first by name where two were begun, so that all who ask go on with the same.
func Target(nodes []Node) string {
	nodes = byName(nodes)
	for _, n := range nodes {
		if n.Target == "" || !slices.ContainsFunc(nodes, func(m Node) bool { return unfinished(m, n.Target) }) {
			continue
		}
		if !slices.ContainsFunc(nodes, func(m Node) bool { return m.Signing != n.Target }) && slices.ContainsFunc(nodes, func(m Node) bool { return m.Target != n.Target }) {
			continue // reached, and the next change has begun on one of them
		}
		if !slices.ContainsFunc(nodes, func(m Node) bool { return m.Unknown != "" || !slices.Contains(m.Trusted, n.Target) }) {
			return n.Target
		}
	}
	return ""
}

// Unfinished: a change that this node was told of is not over here.
func Unfinished(n Node) bool { return n.Target != "" && unfinished(n, n.Target) }

// WaitingFor are the nodes that have not done a phase of the change to the CA next.
func WaitingFor(p Phase, next string, nodes []Node) []string {
	var out []string
	for _, n := range byName(nodes) {
		left := n.Unknown != ""
		switch p {
		case TrustBoth:
			left = left || !slices.Contains(n.Trusted, next) || !slices.Contains(n.EtcdTrusts, next) || n.APIServerStale
		case IssueLeaves:
			left = left || n.Signing != next || slices.ContainsFunc(n.Leaves, func(l Leaf) bool { return l.SignedBy != next })
		case TrustNew:
			left = left || unfinished(n, next)
		case Complete:
		}
		if left {
			out = append(out, n.Name)
		}
	}
	return out
}

func leaderLast(nodes []Node) []Node {
	return slices.SortedStableFunc(slices.Values(nodes), func(a, b Node) int { return bit(a.Leads) - bit(b.Leads) })
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func unfinished(n Node, target string) bool {
	return n.Signing != target || len(n.Trusted) != 1 || len(n.EtcdTrusts) != 1 || n.APIServerStale
}

// Decide says what comes next on the way to the CA next, given every node of the cluster. A step begins only when the one
// before is done on all of them; trust in a CA is taken away only when nothing that it signed is shown anywhere.
func Decide(next string, nodes []Node) Action {
	nodes = byName(nodes)
	phase := phaseOf(next, nodes)
	do := func(k Kind, n Node, ca, format string, args ...any) Action {
		return Action{Kind: k, Node: n.Name, CA: ca, Phase: phase, Reason: n.Name + " " + fmt.Sprintf(format, args...)}
	}
	if len(nodes) == 0 {
		return Action{Kind: Wait, Phase: phase, Reason: "no node is known"}
	}
	for _, n := range nodes {
		if n.Unknown != "" {
			return Action{Kind: Wait, Phase: phase, Reason: fmt.Sprintf("%s cannot be looked at: %s. Every node is waited for: what it trusts, and what it shows, is not known", n.Name, n.Unknown)}
		}
	}
	for _, n := range nodes {
		if !slices.Contains(n.Trusted, next) {
			return do(Trust, n, next, "does not trust the new CA yet")
		}
		// A node signs only with the CA that it was told of last: an order that was under way for long does nothing.
		if n.Target != next {
			return do(Trust, n, next, "was last told of another CA")
		}
	}
	for _, n := range leaderLast(nodes) {
		if !slices.Contains(n.EtcdTrusts, next) {
			return do(RestartEtcd, n, next, "runs an etcd that read the bundle before the new CA was in it")
		}
		// Only while there is something new in it: what is stale after the old CA has left is below.
		if n.APIServerStale && slices.ContainsFunc(nodes, func(m Node) bool { return m.Signing != next }) {
			return do(RestartAPIServer, n, next, "runs a kube-apiserver that read the bundle before the new CA was in it")
		}
	}
	for _, n := range nodes {
		if n.Signing != next {
			return do(Sign, n, next, "signs with the old CA, and the new one is trusted everywhere")
		}
	}
	for _, n := range nodes {
		for _, l := range n.Leaves {
			if l.SignedBy == "" {
				return Action{Kind: Wait, Phase: phase, Reason: fmt.Sprintf("%s on %s is signed by no CA that the node trusts: replace it, or remove it and its key if nothing uses it", l.Name, n.Name)}
			}
			if l.SignedBy != next {
				return do(Sign, n, next, "shows %s, which the old CA signed", l.Name)
			}
		}
	}
	for _, n := range nodes {
		for _, ca := range n.Trusted {
			if ca != next {
				return do(Forget, n, ca, "trusts CA %s, and nothing that it signed is shown anywhere", short(ca))
			}
		}
	}
	for _, n := range leaderLast(nodes) {
		if len(n.EtcdTrusts) != 1 {
			return do(RestartEtcd, n, next, "runs an etcd that still trusts the old CA")
		}
		if n.APIServerStale {
			return do(RestartAPIServer, n, next, "runs a kube-apiserver that still trusts the old CA")
		}
	}
	return Action{Kind: Done, Phase: Complete, Reason: "every node trusts and shows the new CA alone"}
}

func phaseOf(next string, nodes []Node) Phase {
	all := func(f func(Node) bool) bool { return !slices.ContainsFunc(nodes, func(n Node) bool { return !f(n) }) }
	switch {
	case !all(func(n Node) bool { return slices.Contains(n.Trusted, next) && slices.Contains(n.EtcdTrusts, next) }):
		return TrustBoth
	case !all(func(n Node) bool {
		return n.Signing == next && !slices.ContainsFunc(n.Leaves, func(l Leaf) bool { return l.SignedBy != next })
	}):
		if all(func(n Node) bool { return n.Signing != next && !n.APIServerStale }) || !all(func(n Node) bool { return n.Signing != next }) {
			return IssueLeaves
		}
		return TrustBoth
	}
	return TrustNew
}

func byName(nodes []Node) []Node {
	return slices.SortedFunc(slices.Values(nodes), func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
}

func short(fingerprint string) string {
	return strings.ToLower(fingerprint[:min(12, len(fingerprint))])
}
