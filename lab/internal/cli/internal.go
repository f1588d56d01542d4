package cli

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/lab/internal/cgroup"
	"clusteretcd.io/ceo/lab/internal/network"
	"clusteretcd.io/ceo/lab/internal/node"
	"clusteretcd.io/ceo/lab/internal/state"
)

// internalCmds are what the lab starts itself: not for people.
func (a *app) internalCmds() []*cobra.Command {
	c := &cobra.Command{Use: "internal", Hidden: true, Short: "What the lab starts itself"}
	c.AddCommand(
		&cobra.Command{Use: "node-init SPEC", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
			if err := node.AwaitGo(); err != nil {
				return err
			}
			return node.Init(args[0])
		}},
		&cobra.Command{Use: "switch DIR", Args: cobra.ExactArgs(1), RunE: runSwitch},
	)
	return []*cobra.Command{c}
}

// runSwitch is the process that the lab's network belongs to.
func runSwitch(c *cobra.Command, args []string) error {
	if err := node.AwaitGo(); err != nil {
		return err
	}
	dir := state.Dir(args[0])
	if err := cgroup.Enter(dir.Cgroup("switch")); err != nil {
		return err
	}
	if err := network.SetUpSwitch(c.Context()); err != nil {
		return err
	}
	l, err := net.Listen("tcp", network.Endpoint())
	if err != nil {
		return err
	}
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
	say("balancing API servers on %s", network.Endpoint())
	var last []string
	b := &network.Balancer{Log: say, Backends: func() []string {
		// A state that cannot be read now will be at the next turn: keep what was known.
		if s, err := dir.Read(); err == nil && s != nil {
			last = nil
			for _, n := range s.Nodes {
				last = append(last, fmt.Sprintf("%s:%d", n.IP(), network.APIPort))
			}
		}
		return last
	}}
	return b.Serve(c.Context(), l)
}
