package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// readdressAfter is how many looks in a row must say the same before a node takes another address: an interface that is
// set up anew is without its address for a moment (I23).
const readdressAfter = 3

// addressFacts is what a node sees of its own address (P20). All are written as netip does.
type addressFacts struct {
	// configured is node.json's, and served that of etcd's manifest: the host of its advertised client URL; "" where no
	// manifest is in service. peer is the host of node.json's peer URL, where that is an address.
	configured, served, peer string
	// listens: etcd's manifest has it listen at served. Where it only tells others that address, as behind a translation of
	// addresses, it never was on an interface.
	listens bool
	// interfaces are the addresses of this node's interfaces; none at all is not known.
	interfaces []string
	// operator is the Node's InternalIP by the operator's word; apiServer is what this node's kube-apiserver advertises.
	operator, apiServer string
	// seen is how often in a row, this look included, seenTo was what the look came to.
	seen   int
	seenTo string
}

type addressKind string

const (
	// addressKeep: it is where it is said to be.
	addressKeep addressKind = "keep"
	// addressMove: it is at another one.
	addressMove addressKind = "readdress"
	// addressWait: it is not known where it is.
	addressWait addressKind = "wait"
)

// addressDecision is what is to be done about a node's address, and why.
type addressDecision struct {
	kind addressKind
	// to is the new address; while it is only waited for more looks, too.
	to     string
	reason string
	// gone: the configured address is on none of the interfaces.
	gone bool
}

// decideAddress is pure. A node takes another address only where its own is on none of its interfaces and exactly one
// other one is proven: named by somebody who knows, and there. Two at once, or none, and nothing is done.
func decideAddress(f addressFacts) addressDecision {
	here := func(a string) bool { return slices.Contains(f.interfaces, a) }
	wait := func(format string, args ...any) addressDecision {
		return addressDecision{kind: addressWait, reason: fmt.Sprintf(format, args...), gone: len(f.interfaces) > 0 && !here(f.configured)}
	}
	if len(f.interfaces) == 0 {
		return wait("the addresses of this node's interfaces are not known")
	}
	candidates := proven(f, here)
	to := ""
	switch {
	case f.served != "" && !here(f.served) && !f.listens:
		return wait("etcd is reached at %s, which is on none of this node's interfaces, and does not listen there itself: where it is to be reached is not this node's to say", f.served)
	case here(f.configured) && (f.served == "" || here(f.served)):
		if f.peer != "" && !here(f.peer) {
			return wait("etcd's peers are told %s, which is on none of this node's interfaces, and %s, which is, is another network's: run `ceo node install` once etcd's manifest names the right one", f.peer, f.configured)
		}
		return addressDecision{kind: addressKeep, reason: f.configured + " is on this node"}
	case here(f.configured):
		// What was begun is ended: etcd's manifest is behind node.json.
		if i := slices.IndexFunc(candidates, func(c string) bool { return c != f.configured }); i >= 0 {
			return wait("etcd is to serve at %s, which is gone; node.json says %s, and this node is said to be at %s: nothing is done until they agree", f.served, f.configured, candidates[i])
		}
		to = f.configured
	case len(candidates) == 0:
		return wait("%s is on none of this node's interfaces, and nobody who knows names one that is (%s): the operator does, once the Node's InternalIP is right; see docs/runbooks/changed-address.md",
			f.configured, strings.Join(f.interfaces, ", "))
	case len(candidates) > 1:
		return wait("%s is on none of this node's interfaces, and it is said to be at %s: nothing is done until one of them is meant", f.configured, strings.Join(candidates, " and at "))
	default:
		to = candidates[0]
	}
	d := addressDecision{kind: addressMove, to: to, gone: !here(f.configured), reason: fmt.Sprintf("%s is gone from this node's interfaces, and %s is there", gone(f, here), to)}
	if f.seenTo != to || f.seen < readdressAfter {
		d.kind = addressWait
		d.reason += fmt.Sprintf("; seen %d of %d times in a row", seenOf(f, to), readdressAfter)
	}
	return d
}

func gone(f addressFacts, here func(string) bool) string {
	if here(f.configured) {
		return f.served
	}
	return f.configured
}

func seenOf(f addressFacts, to string) int {
	if f.seenTo != to {
		return 0
	}
	return f.seen
}

// proven are the addresses that somebody names and that are on an interface. A word about another one is of another time.
// What a person has written into etcd's manifest counts as a word, too.
func proven(f addressFacts, here func(string) bool) []string {
	var out []string
	for _, a := range []string{f.operator, f.apiServer, f.served} {
		if a != "" && here(a) && usable(a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

// usable: others can reach a node by it.
func usable(a string) bool {
	ip, err := netip.ParseAddr(a)
	return err == nil && !ip.IsLoopback() && !ip.IsUnspecified() && !ip.IsLinkLocalUnicast() && !ip.IsMulticast()
}

// plainAddress is an address as all are compared; "" for what is none.
func plainAddress(s string) string {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}
