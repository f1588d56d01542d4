package cluster

import (
	"context"
	"fmt"
	"net/netip"

	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/state"
)

// Move gives a node without power another address, as a machine gets one from DHCP: it has it from its next boot on. What is
// written in the node's files, and in the certificates, stays as it is. All nodes find it by its name at the new address.
func (l *Lab) Move(ctx context.Context, name, address string) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	if err := l.mayMove(n, address); err != nil {
		return err
	}
	if err := l.settled(ctx, n); err != nil {
		return err
	}
	if err := l.update(func() { n.Moved = address }); err != nil {
		return err
	}
	return each(l.S.Nodes, func(o *state.Node) error {
		hosts := node.Hosts(l.spec(o))
		if !o.Init.Alive() {
			return l.writeIn(o, "etc/hosts", hosts)
		}
		if _, err := l.inNode(ctx, o, "sh", "-c", `printf %s "$1" > /etc/hosts`, "sh", hosts); err != nil {
			return err
		}
		if o == n {
			return nil
		}
		return network.InNode(o.Init, func() error { return network.Reroute(ctx, n.Index, address) })
	})
}

// mayMove says why not.
func (l *Lab) mayMove(n *state.Node, address string) error {
	if n.Init.Alive() {
		return fmt.Errorf("%s runs: a node gets its address when it boots: lab kill %s first", n.Name, n.Name)
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return fmt.Errorf("%q is no address", address)
	}
	// The first ones are the bridge's, the balancer's and those of the nodes' numbers.
	last := ip.As16()[15]
	if !netip.MustParsePrefix(network.BridgeIP+"/24").Contains(ip) || last <= 10+state.MaxNodes || last == 255 {
		return fmt.Errorf("%s: choose one of %s to 10.78.0.254", address, state.NodeIP(state.MaxNodes+1))
	}
	for _, o := range l.S.Nodes {
		if o != n && o.IP() == address {
			return fmt.Errorf("%s is the address of %s", address, o.Name)
		}
	}
	return nil
}
