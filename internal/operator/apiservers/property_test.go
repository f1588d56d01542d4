package apiservers

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/etcd"
)

// model is a cluster of which things happen to: the decision's changes are made, and a restart takes some steps.
type model struct {
	v View
	// back is in how many steps the kube-apiserver of a node is ready again.
	back map[string]int
}

func drawView(t *rapid.T) View {
	v := cluster(rapid.IntRange(1, 6).Draw(t, "nodes"))
	v.Others = rapid.IntRange(0, 2).Draw(t, "others")
	for i := range v.Members {
		v.Members[i].Health = rapid.SampledFrom([]etcd.Health{etcd.Healthy, etcd.Healthy, etcd.Healthy, etcd.Unknown, etcd.Unhealthy}).Draw(t, "health")
		switch rapid.IntRange(0, 9).Draw(t, "member") {
		case 0:
			v.Members[i].Voter = false
		case 1:
			v.Members[i].Voter, v.Members[i].Started, v.Members[i].URLs = false, false, nil
		case 2:
			v.Members[i].Corrupt = true
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "removed") == 0 {
		v.Members = v.Members[1:]
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		n.Servers = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{loopback, at(1), at(2), at(3), at(4), at(5), at(9), "https://etcd.example:2379"}), 1, 4, rapid.ID[string]).Draw(t, "servers")
		n.Ready = rapid.IntRange(0, 4).Draw(t, "ready") > 0
		n.Restarting = rapid.IntRange(0, 9).Draw(t, "restarting") == 0
		n.Wanted = rapid.IntRange(0, 9).Draw(t, "wanted") > 0
		n.InService = rapid.IntRange(0, 9).Draw(t, "in service") > 0
		n.Young = rapid.IntRange(0, 9).Draw(t, "young") == 0
		if rapid.IntRange(0, 9).Draw(t, "unknown") == 0 {
			*n = Node{Name: n.Name, Wanted: n.Wanted, Unknown: "dark"}
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "busy") == 0 {
		v.Busy = "that first"
	}
	if rapid.IntRange(0, 9).Draw(t, "last") == 0 {
		v.Last = v.Nodes[0].Name
	}
	return v
}

// check is what must never be, whatever was seen.
func check(t *rapid.T, v View, d Decision) {
	if d.Node == "" {
		return
	}
	i := slices.IndexFunc(v.Nodes, func(n Node) bool { return n.Name == d.Node })
	n := v.Nodes[i]
	fail := func(format string, args ...any) { t.Fatalf("%s: %+v of %+v", fmt.Sprintf(format, args...), d, v) }
	switch {
	case v.Busy != "" || v.Unread != "":
		fail("something else is in flight (P17, P22)")
	case n.Unknown != "" || !n.InService || n.Restarting:
		fail("the node is not known, or not to be touched (I23)")
	case slices.Equal(d.Servers, n.Servers) || !slices.Equal(d.Was, n.Servers):
		fail("a restart for nothing")
	case d.Reason == "":
		fail("it does not say why")
	case v.Last != "" && v.Last != n.Name:
		fail("two at once")
	}
	l := v.classify(Node{Name: n.Name, Servers: d.Servers, Local: n.Local})
	if !slices.ContainsFunc(v.Members, func(m Member) bool { return m.serves() && slices.Contains(l.voters, m.ID) }) {
		fail("a list without a healthy voter")
	}
	if first, of := v.memberOf(n, d.Servers[0]); of != ofMember || !first.serves() {
		fail("the first does not serve")
	}
	if own, has := v.own(n); has && own.Voter && !l.ownFirst {
		fail("its own is not the first")
	}
	if len(l.gone) > 0 && !v.unstarted() {
		fail("%v are nobody's", l.gone)
	}
	for _, s := range n.Servers {
		if m, of := v.memberOf(n, s); of == ofMember && m.Voter && !slices.Contains(l.voters, m.ID) {
			fail("a voter was taken out of it: it may only be down (I23)")
		}
	}
	ready, unsettled := 0, false
	for j, o := range v.Nodes {
		if j == i || o.Unknown != "" || !o.InService {
			continue
		}
		unsettled = unsettled || o.Restarting || !o.Ready
		if o.Ready && !o.Restarting {
			ready++
		}
		if o.Restarting {
			fail("%s restarts", o.Name)
		}
	}
	if n.Ready && unsettled {
		fail("another is not back")
	}
	alone := !slices.ContainsFunc(v.Nodes, func(o Node) bool { return o.Name != n.Name && (o.InService || o.Unknown != "") })
	if n.Ready && ready == 0 && !alone {
		fail("the last one that answers")
	}
}

func TestNeverWithoutAHealthyVoter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		check(t, v, Decide(v))
	})
}

// Once all is well, every list is right after as many changes as there are nodes at most, and then there are none: whatever
// the lists were, and though each restart takes a while.
func TestSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := model{v: drawView(t), back: map[string]int{}}
		for i := range m.v.Members {
			m.v.Members[i] = Member{ID: m.v.Members[i].ID, Node: m.v.Members[i].Node, URLs: []string{at(int(m.v.Members[i].ID))}, Voter: true, Started: true, Health: etcd.Healthy} //nolint:gosec // small
		}
		m.v.Busy, m.v.Last = "", ""
		for i := range m.v.Nodes {
			n := &m.v.Nodes[i]
			if n.Unknown != "" {
				n.Unknown, n.Servers, n.InService, n.Local = "", []string{loopback}, true, []string{loopback, at(i + 1)}
			}
			n.Ready, n.Restarting, n.Young, n.Wanted = true, false, false, slices.ContainsFunc(m.v.Members, func(x Member) bool { return x.Node == n.Name })
		}
		changed := map[string]int{}
		for step := 0; ; step++ {
			if step > 100 {
				t.Fatalf("it does not settle: %+v", m.v)
			}
			down := 0
			for i := range m.v.Nodes {
				n := &m.v.Nodes[i]
				if m.back[n.Name] > 0 {
					m.back[n.Name]--
				}
				// The kubelet notices, the old one ends, the new one comes up.
				n.Restarting, n.Ready = m.back[n.Name] > 2, m.back[n.Name] == 0 || m.back[n.Name] > 3
				if m.back[n.Name] > 0 {
					down++
				}
			}
			if down > 1 {
				t.Fatalf("%d at once", down)
			}
			d := Decide(m.v)
			check(t, m.v, d)
			if d.Node == "" && !d.Waits {
				break
			}
			if d.Node == "" && down == 0 {
				// Nothing is under way and nothing is well: only what a person has to look at, or the only API server.
				for _, n := range m.v.Nodes {
					if need := m.v.need(n); need.why != "" && need.wait == "" && m.v.mustWait(n) == "" {
						t.Fatalf("it waits for nothing: %+v", d)
					}
				}
				break
			}
			if d.Node != "" {
				i := slices.IndexFunc(m.v.Nodes, func(n Node) bool { return n.Name == d.Node })
				m.v.Nodes[i].Servers, m.back[d.Node] = d.Servers, 5
				changed[d.Node]++
			}
		}
		for n, times := range changed {
			if times > 1 {
				t.Fatalf("%s was restarted %d times", n, times)
			}
		}
	})
}
