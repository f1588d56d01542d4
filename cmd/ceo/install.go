package main

import (
	"github.com/spf13/cobra"

	"clusteretcd.io/ceo/internal/cli"
)

// newInstallCommand is the chart without Helm.
func newInstallCommand() *cobra.Command {
	var o cli.InstallOptions
	c := &cobra.Command{
		Use:   "install",
		Short: "Print or apply what the Helm chart would install: the operator, and the installer of the agents",
		Long: `Print the objects of the Helm chart that this program carries, or apply them with --apply. They are the same objects as
those of ` + "`helm template`" + `. Etcd is not touched by them: ` + "`ceo adopt`" + ` does that.`,
		Example: `  ceo install | kubectl apply --server-side -f -
  ceo install --apply --set operator.replicas=1 --set image.repository=registry.example/ceo`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return cli.InstallChart(c.Context(), streams(c), o) },
	}
	c.Flags().StringVarP(&o.Namespace, "namespace", "n", "kube-system", "namespace of the operator and the installer")
	c.Flags().StringArrayVarP(&o.Files, "values", "f", nil, "file with values; of several, the later ones win")
	c.Flags().StringArrayVar(&o.Set, "set", nil, "one value, path.to.value=YAML; may be given again")
	c.Flags().BoolVar(&o.Apply, "apply", false, "apply them to the cluster, by server-side apply")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "with --apply: have the API server check them and change nothing")
	c.Flags().StringVar(&o.Kubeconfig, "kubeconfig", "", "how to reach the API server (default: $KUBECONFIG, or /etc/kubernetes/admin.conf)")
	return c
}
