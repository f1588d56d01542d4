package apiservers

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// listed is what the URLs of a list are.
type listed struct {
	voters   []uint64
	gone     []string // of no member
	known    int      // of a member, or not to be told
	ownFirst bool
}

func (v View) classify(n Node) listed {
	var l listed
	for i, s := range n.Servers {
		m, of := v.memberOf(n, s)
		if i == 0 {
			l.ownFirst = of == ofMember && m.Node == n.Name
		}
		switch {
		case of == ofNobody:
			l.gone = append(l.gone, s)
			continue
		case of == ofMember && m.Voter && !slices.Contains(l.voters, m.ID):
			l.voters = append(l.voters, m.ID)
		}
		l.known++
	}
	return l
}

type whose int

const (
	ofNobody whose = iota
	ofMember
	// ofName: a host name. Members say addresses, so that it cannot be told (I23).
	ofName
)

func (v View) memberOf(n Node, server string) (Member, whose) {
	own, has := v.own(n)
	if isLocal(n, server) {
		if has {
			return own, ofMember
		}
		return Member{}, ofNobody
	}
	key := normal(server)
	for _, m := range v.Members {
		for _, u := range m.URLs {
			if normal(u) == key {
				return m, ofMember
			}
		}
	}
	if u, err := url.Parse(server); err == nil {
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			return Member{}, ofName
		}
	}
	return Member{}, ofNobody
}

// list is what a node's list is to be: its own member, what it has of the others, and healthy ones up to enough.
func (v View) list(n Node, l listed) []string {
	var out []string
	var voters []uint64
	own, has := v.own(n)
	add := func(s string, m Member) {
		if m.Voter && slices.Contains(voters, m.ID) {
			return
		}
		out = append(out, s)
		if m.Voter {
			voters = append(voters, m.ID)
		}
	}
	if has && own.Voter {
		add(ownURL(n, own), own)
	}
	keep := func(healthy bool) {
		for _, s := range n.Servers {
			if m, of := v.memberOf(n, s); of == ofMember && m.Voter && m.serves() == healthy {
				add(s, m)
			}
		}
	}
	keep(true)
	fill := func() {
		for _, m := range v.after(n.Name) {
			if len(voters) < v.enough(n) && m.serves() && len(m.URLs) > 0 {
				add(m.URLs[0], m)
			}
		}
	}
	if len(voters) == 0 {
		fill() // the first one has to answer
	}
	keep(false)
	fill()
	for _, s := range n.Servers {
		switch _, of := v.memberOf(n, s); {
		case of == ofName:
			out = append(out, s)
		case of == ofNobody && v.unstarted() && !isLocal(n, s):
			out = append(out, s) // it may be the one that has not said its URL yet
		}
	}
	return out
}

// ownURL is the local form that is in the list, else the best one.
func ownURL(n Node, own Member) string {
	for _, s := range n.Servers {
		if isLocal(n, s) {
			return s
		}
	}
	if len(n.Local) > 0 {
		return n.Local[0]
	}
	for _, s := range n.Servers {
		if slices.ContainsFunc(own.URLs, func(u string) bool { return normal(u) == normal(s) }) {
			return s
		}
	}
	return own.URLs[0]
}

func isLocal(n Node, server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback() || slices.Contains(n.Local, server)
}

// normal is a URL as all are compared.
func normal(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	host := strings.ToLower(u.Hostname())
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	return u.Scheme + "|" + host + "|" + u.Port()
}
