package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

// newRenderCommand writes a node's files before there is a cluster.
func newRenderCommand() *cobra.Command {
	var o cli.RenderOptions
	c := &cobra.Command{
		Use:   "render --name NODE --address IP",
		Short: "Write what a control-plane node needs before there is a cluster: PKI, and the static pods of etcd and the agent",
		Long: `Write what the first control-plane node of a new cluster needs: etcd's CA and certificates, the static pods of etcd under
the guard and of the agent, the permission to begin one cluster, and the part of kubeadm's configuration that names this
etcd as an external one. kubeadm init starts the kubelet, and the kubelet etcd.

With --peer the node is one that joins: etcd's CA is to be on it already, its own keys are made here, and its etcd
waits until the operator has added it.

Nothing that is there is replaced. Run again, it goes on where it was, and gives no second permission.`,
		Example: `  ceo render --name cp-1 --address 192.0.2.11
  ceo render --name cp-2 --address 192.0.2.12 --peer cp-1=192.0.2.11`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return cli.Render(streams(c), o) },
	}
	f := c.Flags()
	f.StringVar(&o.Name, "name", "", "the node's name")
	f.StringVar(&o.Address, "address", "", "the node's IP address, where the other nodes reach it")
	f.StringVar(&o.ClusterName, "cluster-name", "kubernetes", "the cluster's name, which a person types to confirm")
	f.StringToStringVar(&o.Peers, "peer", nil, "NAME=IP of a node of the cluster that this one joins; may be given again")
	f.StringVar(&o.EtcdImage, "etcd-image", "registry.k8s.io/etcd:3.7.0-0", "image of etcd")
	f.StringVar(&o.CeoImage, "image", imageName+":"+version, "image of ceo")
	f.StringVar(&o.Output, "output", "/", "the root below which the files are written")
	f.StringVar(&o.RuntimeSocket, "runtime-socket", "", "the container runtime's socket (default: looked for in the usual places, else containerd's)")
	for _, name := range []string{"name", "address"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return c
}
