package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/install"
	"clusteretcd.io/ceo/internal/kubeapi"
)

// newNodeKeepCommand is the chart's installer: `ceo node install`, again and again, as far as it may by itself.
func newNodeKeepCommand() *cobra.Command {
	var f nodeFlags
	var nodeName, apiServer, hostRoot string
	var interval time.Duration
	c := &cobra.Command{
		Use:   "keep",
		Short: "Keep ceo on this node (the chart's installer)",
		Long: `Keep ceo on this node: what each Pod of the chart's DaemonSet runs. It places the agent and mends it. Etcd is put under the
guard, which restarts it once, only where ` + "`ceo adopt`" + ` gives this node its turn, or the EtcdCluster is Managed.
It says in its log what it waits for.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.options(c)
			if err != nil {
				return err
			}
			if nodeName == "" || apiServer == "" {
				return fmt.Errorf("--node and --apiserver must be named: this is run by the chart's DaemonSet; by hand use `ceo node install`")
			}
			api, err := kubeapi.InPod(apiServer)
			if err != nil {
				return fmt.Errorf("how to reach the API server: %w", err)
			}
			log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("part", "installer")
			o.HostRoot = hostRoot
			o.Progress = func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) }
			k := install.Keeper{
				Node: nodeName, Options: o, Ask: install.AskAPI(api), Full: install.Install, Agent: install.InstallAgent, Join: install.Joined, Interval: interval, Log: log, Now: time.Now,
			}
			return k.Run(c.Context())
		},
	}
	c.Flags().StringVar(&f.image, "image", imageName+":"+version, "image of ceo; it must be on the node")
	c.Flags().StringVar(&f.runtimeSocket, "runtime-socket", "", "the container runtime's socket (default: looked for in the usual places)")
	c.Flags().DurationVar(&f.lockWait, "lock-wait", time.Minute, "how long to wait for another run; one node at a time")
	c.Flags().StringVar(&nodeName, "node", "", "name of this node")
	c.Flags().StringVar(&apiServer, "apiserver", "", "the API server of this node, e.g. https://10.0.0.11:6443")
	c.Flags().StringVar(&hostRoot, "host-root", "", "where the host's /etc is seen below")
	c.Flags().DurationVar(&interval, "interval", 30*time.Second, "how often to look")
	return c
}
