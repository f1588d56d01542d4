package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/node"
)

const (
	// softMemory is where the garbage collector begins to work harder. The agent
	// idles beside etcd on small nodes and is to stay below 48 MiB there; it is no
	// hard limit, so that a restore may take what it needs.
	softMemory = 40 << 20
	// gcPercent trades a little time of an idle process for half of its garbage.
	gcPercent = 50
)

// newAgentCommand is the agent's static pod.
func newAgentCommand() *cobra.Command {
	var root, own, socket, metrics string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Serve this control-plane node to the CLI and to the other nodes (the agent's static pod)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			debug.SetMemoryLimit(softMemory)
			debug.SetGCPercent(gcPercent)
			log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("part", "agent")
			a, err := agent.New(agent.Options{Paths: node.Paths{Root: root}, Version: version, CRISocket: socket, Log: log, MetricsAddress: metrics, Own: own})
			if err != nil {
				return err
			}
			return a.Run(c.Context())
		},
	}
	c.Flags().StringVar(&socket, "cri-socket", cri.Sockets[0], "the container runtime's socket")
	c.Flags().StringVar(&metrics, "metrics-address", agent.MetricsAddress, "where /metrics, /healthz and /readyz are served, in plain HTTP; 0 for nowhere")
	c.Flags().StringVar(&root, "root", "", "prefix of all paths, for tests")
	c.Flags().StringVar(&own, "own", "", "the one address to serve on and to find etcd at, for tests: several agents on one machine have one each")
	for _, f := range []string{"root", "own"} {
		_ = c.Flags().MarkHidden(f) // fails only for a flag that does not exist
	}
	return c
}
