package etcd

import "fmt"

// pairs says which member is which node's. A node's data names its member
// best; then its address, then its name, which is what is left of a member
// whose machine came back with nothing and at another address (P20).
type pairs struct {
	// ofNode and ofMember are indexes into the view; -1 for none.
	ofNode, ofMember []int
	// conflict is why nothing can be told apart; nothing is changed then.
	conflict string
}

func (v View) pair() pairs {
	p := pairs{ofNode: make([]int, len(v.Nodes)), ofMember: make([]int, len(v.Members))}
	for i := range p.ofNode {
		p.ofNode[i] = -1
	}
	for j := range p.ofMember {
		p.ofMember[j] = -1
	}
	for i, n := range v.Nodes {
		for _, o := range v.Nodes[:i] {
			switch {
			case n.PeerURL == o.PeerURL:
				p.conflict = fmt.Sprintf("%s and %s have one address, %s: give each its own", o.Name, n.Name, n.PeerURL)
			case n.Name == o.Name:
				p.conflict = fmt.Sprintf("two nodes are named %s: rename one", n.Name)
			case n.Holds != 0 && n.Holds == o.Holds:
				p.conflict = fmt.Sprintf("%s and %s both hold the data of member %x: one is a copied disk (I5). Take etcd's data off the copy", o.Name, n.Name, n.Holds)
			}
		}
	}
	for _, same := range []func(Node, Member) bool{
		func(n Node, m Member) bool { return n.Holds != 0 && n.Holds == m.ID },
		func(n Node, m Member) bool { return n.PeerURL == m.PeerURL },
		func(n Node, m Member) bool { return m.Started() && n.Name == m.Name },
	} {
		for i, n := range v.Nodes {
			for j, m := range v.Members {
				if p.ofNode[i] < 0 && p.ofMember[j] < 0 && same(n, m) {
					p.ofNode[i], p.ofMember[j] = j, i
				}
			}
		}
	}
	return p
}

// Unwanted are the ids of the members that no node stands for: what the time
// of Member.UnwantedFor is counted for.
func (v View) Unwanted() []uint64 {
	var ids []uint64
	p := v.pair()
	for j, m := range v.Members {
		if p.ofMember[j] < 0 {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// MemberOf is the member of a node, by what the node holds, its address or its
// name; that of a node that is not wanted any more, by its name.
func (v View) MemberOf(name string) (Member, bool) {
	p := v.pair()
	for i, n := range v.Nodes {
		if n.Name == name && p.ofNode[i] >= 0 {
			return v.Members[p.ofNode[i]], true
		}
	}
	for j, m := range v.Members {
		if p.ofMember[j] < 0 && m.Started() && m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}
