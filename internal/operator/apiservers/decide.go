// Package apiservers keeps each kube-apiserver's --etcd-servers on its own node's member first, on no URL that is no
// member's and, where the specification asks for it, on up to two others, so that an API server outlives the etcd beside it.
// Each change restarts that kube-apiserver: there is one only where one is needed, and one at a time.
package apiservers

import (
	"fmt"
	"slices"
	"strings"

	"clusteretcd.io/ceo/internal/etcd"
)

// mostOthers: one of three voters may be down, and with it the quorum is used up. More would only be more connections, and
// more restarts as the cluster grows.
const mostOthers = 2

// Node is one control-plane node, and its kube-apiserver.
type Node struct {
	Name string
	// Unknown is why nothing is known of it now. It is left alone, and nothing is concluded from it (I23).
	Unknown string
	// InService: a kube-apiserver is to run here.
	InService  bool
	Ready      bool
	Restarting bool
	// Servers is its list; Local are the URLs by which it reaches its own member, the best first.
	Servers, Local []string
	// Wanted: it is to have a member.
	Wanted bool
	// Young: somebody else, kubeadm most often, has just written the manifest, and may be at work on the node.
	Young bool
}

// Member is one of the cluster that lives.
type Member struct {
	ID      uint64
	Node    string // that stands for it
	URLs    []string
	Voter   bool // and started
	Started bool
	Health  etcd.Health
	Corrupt bool
}

func (m Member) serves() bool { return m.Voter && m.Health == etcd.Healthy && !m.Corrupt }

// View is everything the decision is made of.
type View struct {
	Nodes   []Node
	Members []Member
	// Unread is why the members are not known from a quorum; nothing is decided then.
	Unread string
	// Busy is why nothing may be restarted now: a recovery, a roll-out, a change of the CA or of the membership, Unmanaged.
	Busy string
	// Last is the node that was changed last, until its kube-apiserver was seen to be ready with that list.
	Last string
	// Others is spec.apiServers.otherMembers.
	Others int
}

// Decision is at most one change. Without a node nothing is to be changed, or, with a reason, not now.
type Decision struct {
	Node         string
	Servers, Was []string
	Reason       string
	// Waits: there is something to change that must not be changed now.
	Waits bool
}

// Decide answers which node's list is to be changed next. It is pure.
func Decide(v View) Decision {
	if v.Unread != "" {
		return Decision{Reason: v.Unread}
	}
	var wait Decision
	later := func(format string, args ...any) {
		if !wait.Waits {
			wait = Decision{Waits: true, Reason: fmt.Sprintf(format, args...)}
		}
	}
	for _, n := range v.order() {
		need := v.need(n)
		if need.why == "" {
			continue
		}
		switch {
		case v.Busy != "":
			later("%s: %s; before that: %s", n.Name, need.why, v.Busy)
		case need.wait != "":
			later("%s: %s; not now: %s", n.Name, need.why, need.wait)
		default:
			if why := v.mustWait(n); why != "" {
				later("%s: %s; not now: %s", n.Name, need.why, why)
				continue
			}
			return Decision{Node: n.Name, Servers: need.servers, Was: n.Servers, Reason: n.Name + ": " + need.why}
		}
	}
	return wait
}

// order: whose kube-apiserver does not serve is first, as nothing is taken away there.
func (v View) order() []Node {
	out := slices.Clone(v.Nodes)
	rank := func(n Node) int {
		if n.Ready {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b Node) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// need is what is wrong with a node's list: why, what it is to be, and why that has to wait.
type need struct {
	why     string
	servers []string
	wait    string
}

func (v View) need(n Node) need {
	if n.Unknown != "" || !n.InService || len(n.Servers) == 0 {
		return need{}
	}
	own, has := v.own(n)
	if n.Wanted && (!has || !own.Voter) {
		return need{} // it gets its own member first: one restart, not two
	}
	l := v.classify(n)
	goal := min(v.enough(n), v.voters())
	var why string
	switch {
	case len(l.gone) > 0 && !v.unstarted():
		why = strings.Join(l.gone, ", ") + " is no member's"
		if l.known == 0 && n.Ready {
			// It serves from there: this is another cluster's, or a former one's that is still alive. Both are for a person.
			return need{why: fmt.Sprintf("none of %s is a member's, and kube-apiserver serves from there", strings.Join(n.Servers, ", ")), wait: "a person has to look which etcd that is"}
		}
	case has && own.Voter && !l.ownFirst:
		why = "its own member is not the first"
	case v.Others > 0 && len(l.voters) < goal:
		why = fmt.Sprintf("only %d of %d voters are in its list", len(l.voters), v.voters())
	default:
		return need{}
	}
	out := need{why: why}
	out.servers = v.list(n, l)
	got := v.classify(Node{Name: n.Name, Servers: out.servers, Local: n.Local})
	switch {
	case has && own.Voter && !own.serves():
		out.wait = "its own member is not healthy"
	case !slices.ContainsFunc(v.Members, func(m Member) bool { return m.serves() && slices.Contains(got.voters, m.ID) }):
		out.wait = "no voter of the new list is healthy"
	case v.Others > 0 && len(l.gone) == 0 && v.growing():
		out.wait = "the cluster is growing, and one restart is enough"
	case v.Others > 0 && len(l.gone) == 0 && len(got.voters) < goal && n.Ready:
		out.wait = "not enough voters are healthy"
	case n.Young:
		out.wait = "kube-apiserver's manifest was written a moment ago, and kubeadm may be at work there"
	case slices.Equal(out.servers, n.Servers):
		return need{}
	}
	return out
}

// after are the members in the order of their nodes, beginning behind this one: so not all lists name the same two.
func (v View) after(name string) []Member {
	ms := slices.Clone(v.Members)
	slices.SortFunc(ms, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	i := slices.IndexFunc(ms, func(m Member) bool { return m.Node > name })
	if i < 0 {
		return ms
	}
	return append(slices.Clone(ms[i:]), ms[:i]...)
}

func (v View) own(n Node) (Member, bool) {
	i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Node == n.Name && m.Started && len(m.URLs) > 0 })
	if i < 0 {
		return Member{}, false
	}
	return v.Members[i], true
}

func (v View) voters() int {
	n := 0
	for _, m := range v.Members {
		if m.Voter {
			n++
		}
	}
	return n
}

// unstarted: one was added and has not said its URLs, so that whose a URL is cannot be told of all.
func (v View) unstarted() bool {
	return slices.ContainsFunc(v.Members, func(m Member) bool { return !m.Started || len(m.URLs) == 0 })
}

// enough is how many voters this node's list has, where there are as many. One without a member has nothing but others.
func (v View) enough(n Node) int {
	if _, has := v.own(n); !has {
		return 1 + mostOthers
	}
	return 1 + min(v.Others, mostOthers)
}

// growing: more voters come, and the list would have to be made longer again.
func (v View) growing() bool {
	if v.voters() > v.Others {
		return false
	}
	return slices.ContainsFunc(v.Members, func(m Member) bool { return !m.Voter }) ||
		slices.ContainsFunc(v.Nodes, func(n Node) bool {
			return n.Wanted && !slices.ContainsFunc(v.Members, func(m Member) bool { return m.Node == n.Name && m.Voter })
		})
}

// mustWait is why this node's kube-apiserver must not be restarted beside the others; "" if it may be.
func (v View) mustWait(n Node) string {
	if n.Restarting {
		return "its kube-apiserver is being restarted"
	}
	if v.Last != "" && v.Last != n.Name {
		return "kube-apiserver on " + v.Last + " has to be back"
	}
	others, more := 0, false
	for _, o := range v.Nodes {
		if o.Name == n.Name {
			continue
		}
		switch {
		case o.Unknown != "":
			more = true
		case !o.InService:
		case o.Restarting:
			return "kube-apiserver on " + o.Name + " is being restarted"
		case o.Ready:
			others++
		case n.Ready:
			return "kube-apiserver on " + o.Name + " has to be ready"
		}
		more = more || o.InService
	}
	if n.Ready && others == 0 && more {
		return "no other kube-apiserver is seen to be ready: the last one stays"
	}
	return ""
}
