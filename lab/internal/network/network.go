// Package network is the lab's own network: a bridge in a network namespace that belongs to one process, the switch. The machine's own
// interfaces, routes and firewall are never touched, and nothing of it outlives that process.
package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"clusteretcd.io/ceo/lab/internal/proc"
)

// Addresses of the lab. None of them exists outside of its namespaces.
const (
	BridgeIP   = "10.78.0.1"
	BalancerIP = "10.78.0.10"
	APIPort    = 6443
	bridge     = "br0"
)

// Endpoint is the cluster's controlPlaneEndpoint.
func Endpoint() string { return fmt.Sprintf("%s:%d", BalancerIP, APIPort) }

func ip(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput() //nolint:gosec // fixed command
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// SetUpSwitch makes the bridge, in the namespace of the calling process.
func SetUpSwitch(ctx context.Context) error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", bridge, "type", "bridge", "forward_delay", "0"},
		{"addr", "add", BridgeIP + "/24", "dev", bridge},
		{"addr", "add", BalancerIP + "/24", "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if err := ip(ctx, args...); err != nil {
			return fmt.Errorf("set up the lab's switch: %w", err)
		}
	}
	return nil
}

// Plug connects the network namespace of the node process to the switch with a pair of virtual interfaces; the node's end is eth0.
func Plug(ctx context.Context, sw *proc.Process, index, nodePID int) error {
	port := fmt.Sprintf("port%d", index)
	return in(sw, func() error {
		// The kernel removes the pair of a dead node by itself, but in its own time.
		_ = ip(ctx, "link", "del", port)
		if err := ip(ctx, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(nodePID)); err != nil {
			return err
		}
		return ip(ctx, "link", "set", port, "master", bridge, "up")
	})
}

// SetUpNode configures the node's end, in the namespace of the calling process. There is no default route: nothing leaves the lab.
func SetUpNode(ctx context.Context, index, nodes int, addr func(int) string) error {
	cmds := [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", addr(index) + "/24", "dev", "eth0"},
		{"link", "set", "eth0", "up"},
	}
	for i := 1; i <= nodes; i++ {
		if i != index {
			cmds = append(cmds, []string{"route", "add", PodSubnet(i), "via", addr(i)})
		}
	}
	for _, args := range cmds {
		if err := ip(ctx, args...); err != nil {
			return fmt.Errorf("set up the node's network: %w", err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return fmt.Errorf("set up the node's network: %w", err)
	}
	return nil
}

// Reroute sends what is for the pods of the node with that number to its new address, from the calling process' namespace.
func Reroute(ctx context.Context, index int, address string) error {
	return ip(ctx, "route", "replace", PodSubnet(index), "via", address)
}

// PodSubnet is the range of the pods on the node with that number.
func PodSubnet(index int) string { return fmt.Sprintf("10.245.%d.0/24", index) }

// CutOff drops all traffic of the calling process' namespace except with the friends; loopback stays.
func CutOff(ctx context.Context, friends []string) error {
	_ = nft(ctx, "delete table ip ceolab")
	return nft(ctx, Rules(friends))
}

// Mend undoes CutOff.
func Mend(ctx context.Context) error {
	// Adding first makes the deletion succeed also where there is none.
	return nft(ctx, "add table ip ceolab\ndelete table ip ceolab\n")
}

// Rules is the nft script of CutOff.
func Rules(friends []string) string {
	var b strings.Builder
	b.WriteString("table ip ceolab {\n")
	for _, c := range []struct{ hook, iface, addr string }{{"input", "iifname", "saddr"}, {"output", "oifname", "daddr"}} {
		fmt.Fprintf(&b, " chain %s {\n  type filter hook %s priority -300; policy accept;\n", c.hook, c.hook)
		if len(friends) > 0 {
			fmt.Fprintf(&b, "  %s eth0 ip %s { %s } accept\n", c.iface, c.addr, strings.Join(friends, ", "))
		}
		fmt.Fprintf(&b, "  %s eth0 drop\n }\n", c.iface)
	}
	b.WriteString(" chain forward {\n  type filter hook forward priority -300; policy accept;\n  iifname eth0 drop\n  oifname eth0 drop\n }\n}\n")
	return b.String()
}

func nft(ctx context.Context, script string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// InNode runs f in the network namespace of the node process.
func InNode(p *proc.Process, f func() error) error { return in(p, f) }

// in runs f on a thread that is in the network namespace of p. Commands that f starts are there too.
func in(p *proc.Process, f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Not unlocked: the runtime throws the thread away with the goroutine, and so its namespace.
		runtime.LockOSThread()
		fd, err := unix.PidfdOpen(p.PID, 0)
		if err != nil {
			result <- fmt.Errorf("process %d: %w", p.PID, err)
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if !p.Alive() {
			result <- errors.New("its process has ended")
			return
		}
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter the network namespace of process %d: %w", p.PID, err)
			return
		}
		result <- f()
	}()
	return <-result
}
