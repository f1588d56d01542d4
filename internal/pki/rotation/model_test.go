package rotation

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// machine is a node of the model: its files, and what its processes read when they started.
type machine struct {
	name      string
	trusted   []string
	signing   string
	target    string
	leaf      string // who signed what it shows
	etcd, api []string
	kept      map[string]bool
	dark      bool
}

func (m *machine) report() Node {
	if m.dark {
		return Node{Name: m.name, Unknown: "time-out"}
	}
	stale := !sameSet(m.api, m.trusted)
	return Node{
		Name: m.name, Trusted: slices.Clone(m.trusted), Signing: m.signing, Leaves: []Leaf{{"etcd/peer", m.leaf}},
		EtcdTrusts: slices.Clone(m.etcd), APIServerStale: stale, Target: m.target,
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// apply is what an agent does, or refuses, whenever the order arrives; key: the order brings the CA's key. torn: it dies
// in the middle.
func (m *machine) apply(a Action, key, torn bool) {
	if m.dark {
		return
	}
	switch a.Kind {
	case Trust:
		if !key && !m.kept[a.CA] {
			return
		}
		m.kept[a.CA], m.target = true, a.CA
		if !torn && !slices.Contains(m.trusted, a.CA) {
			m.trusted = append(m.trusted, a.CA)
		}
	case Sign:
		if slices.Contains(m.trusted, a.CA) && m.target == a.CA && m.kept[a.CA] {
			m.signing = a.CA
			if !torn {
				m.leaf = a.CA
			}
		}
	case Forget:
		if m.signing != a.CA && m.leaf != a.CA {
			m.trusted = slices.DeleteFunc(slices.Clone(m.trusted), func(c string) bool { return c == a.CA })
		}
	case RestartEtcd:
		m.etcd = slices.Clone(m.trusted)
	case RestartAPIServer:
		m.api = slices.Clone(m.trusted)
	case Wait, Done:
	}
}

// Whatever the order in which agents renew, processes restart by themselves, nodes go dark and come back, orders arrive
// late or twice, the one who drives dies and another begins: at no moment is there a pair of nodes of which one fails to
// verify the other (I23 for the dark ones). And once the faults stop, the change ends.
func TestEverybodyVerifiesEverybodyAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var world []*machine
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			world = append(world, &machine{
				name: fmt.Sprintf("cp-%d", i+1), trusted: []string{before}, signing: before, leaf: before,
				etcd: []string{before}, api: []string{before}, kept: map[string]bool{},
			})
		}
		made := 0
		mine := "" // the CA whose key the driver of now holds
		var late []func()
		look := func() []Node {
			var out []Node
			for _, m := range world {
				out = append(out, m.report())
			}
			return out
		}
		step := func() Action {
			nodes := look()
			next := Target(nodes)
			if next == "" {
				if mine == "" {
					made++
					mine = fmt.Sprintf("ca-%d", made)
				}
				next = mine
			}
			return Decide(next, nodes)
		}
		check := func() {
			for _, a := range world {
				for _, b := range world {
					for what, trusts := range map[string][]string{"agent": b.trusted, "etcd": b.etcd, "kube-apiserver": b.api} {
						if !slices.Contains(trusts, a.leaf) {
							t.Fatalf("the %s of %s trusts %v, and %s shows one of %s", what, b.name, trusts, a.name, a.leaf)
						}
					}
				}
			}
		}
		pick := func() *machine { return world[rapid.IntRange(0, len(world)-1).Draw(t, "node")] }
		send := func(a Action, torn bool) func() {
			key := a.CA == mine
			return func() {
				for _, m := range world {
					if m.name == a.Node {
						m.apply(a, key, torn)
					}
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"":     func(*rapid.T) { check() },
			"step": func(*rapid.T) { send(step(), false)() },
			"steps": func(*rapid.T) {
				for range 5 {
					send(step(), false)()
					check()
				}
			},
			"torn":     func(*rapid.T) { send(step(), true)() },
			"postpone": func(*rapid.T) { late = append(late, send(step(), false)) },
			"arrive": func(t *rapid.T) {
				if len(late) > 0 {
					late[rapid.IntRange(0, len(late)-1).Draw(t, "order")]()
				}
			},
			"driver die": func(*rapid.T) { mine = "" },
			"go dark":    func(*rapid.T) { m := pick(); m.dark = !m.dark },
			"renew":      func(*rapid.T) { m := pick(); m.leaf = m.signing },
			"etcd dies":  func(*rapid.T) { m := pick(); m.etcd = slices.Clone(m.trusted) },
			"api dies":   func(*rapid.T) { m := pick(); m.api = slices.Clone(m.trusted) },
		})
		for _, m := range world {
			m.dark = false
		}
		made++
		mine = fmt.Sprintf("ca-%d", made)
		for range 200 {
			a := step()
			if a.Kind == Done {
				return
			}
			if a.Kind == Wait {
				t.Fatalf("waits with everybody there: %s", a.Reason)
			}
			send(a, false)()
			check()
		}
		t.Fatalf("not done: %+v", look())
	})
}
