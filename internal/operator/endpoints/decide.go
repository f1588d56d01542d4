// Package endpoints publishes where etcd serves: the ConfigMap etcd-endpoints, and the headless Service host-etcd with
// its EndpointSlices, all in kube-system. What reads them must never be told that there is no etcd because somebody did
// not answer in time.
package endpoints

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Published is one voter's client URL.
type Published struct {
	URL  string
	Node string
	// Unconfirmed: it was healthy when it was last seen, and could not be asked since.
	Unconfirmed bool
}

// Decision is what to publish, with the reason where it is not simply the healthy voters.
type Decision struct {
	// Keep leaves everything as it is, whatever that is.
	Keep    bool
	Reason  string
	Members []Published
}

// Decide answers what to publish, from what was seen and what is published now (URLs). It is pure. A voter that could not
// be asked stays where it is published (I23); one that is down, or no member any more, goes, but never the last of them.
func Decide(m observe.Membership, standBack string, published []string) Decision {
	switch {
	case standBack != "":
		return Decision{Keep: true, Reason: standBack}
	case !m.Listed:
		return Decision{Keep: true, Reason: "no member gave the list of members"}
	}
	var d Decision
	var unconfirmed []string
	for _, x := range m.Members {
		if !x.Voter() || !x.Started() || x.ClientURL == "" || x.Corrupt {
			continue
		}
		p := Published{URL: x.ClientURL, Node: x.Node}
		switch {
		case x.Health == etcd.Healthy:
		case x.Health == etcd.Unknown && slices.Contains(published, x.ClientURL):
			p.Unconfirmed = true
			unconfirmed = append(unconfirmed, x.Name)
		default:
			continue
		}
		d.Members = append(d.Members, p)
	}
	if len(d.Members) == 0 {
		return Decision{Keep: true, Reason: "no voter was seen to be healthy"}
	}
	slices.SortFunc(d.Members, func(a, b Published) int { return strings.Compare(a.URL, b.URL) })
	if len(unconfirmed) > 0 {
		d.Reason = strings.Join(unconfirmed, ", ") + " could not be asked, and stay as they were"
	}
	return d
}

// address of a client URL; false where it is no IP address with a port.
func (p Published) address() (netip.Addr, int32, bool) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return netip.Addr{}, 0, false
	}
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return netip.Addr{}, 0, false
	}
	port, err := strconv.ParseInt(u.Port(), 10, 32)
	if err != nil {
		return netip.Addr{}, 0, false
	}
	return a, int32(port), true
}
