package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"clusteretcd.io/ceo/charts/ceo"
	"clusteretcd.io/ceo/internal/chart"
	"clusteretcd.io/ceo/internal/kubeapi"
)

// installOwner owns the fields that `ceo install` applies.
const installOwner = "ceo-install"

// InstallOptions of `ceo install`.
type InstallOptions struct {
	Namespace string
	// Files are paths of values files, Set are assignments path.to.value=YAML.
	Files, Set []string
	// Apply sends the objects to the API server; DryRun has it check them and change nothing.
	Apply, DryRun bool
	Kubeconfig    string
}

// InstallChart renders the chart that the program carries, and prints or applies its objects.
func InstallChart(ctx context.Context, s Streams, o InstallOptions) error {
	var files [][]byte
	for _, path := range o.Files {
		raw, err := os.ReadFile(path) //nolint:gosec // the file that the person named
		if err != nil {
			return fmt.Errorf("values: %w", err)
		}
		files = append(files, raw)
	}
	values, err := chart.Values(ceo.Files, files, o.Set)
	if err != nil {
		return err
	}
	objects, err := chart.Render(ceo.Files, values, chart.Release{Name: "ceo", Namespace: o.Namespace, Service: "ceo", AppVersion: Version})
	if err != nil {
		return err
	}
	if !o.Apply {
		out, err := chart.YAML(objects)
		if err != nil {
			return err
		}
		_, err = s.Out.Write(out)
		return err
	}
	api, err := kubeapi.Open(Kubeconfig(o.Kubeconfig))
	if err != nil {
		return err
	}
	return apply(ctx, s, api, objects, o.DryRun)
}

// Kubeconfig is the file to use: the one that was named, that of $KUBECONFIG, or kubeadm's.
func Kubeconfig(named string) string {
	if named != "" {
		return named
	}
	if env := os.Getenv("KUBECONFIG"); env != "" {
		return env
	}
	return DefaultKubeconfig
}

// crdLimit bounds the wait for a CRD that was just applied.
const crdLimit = 30 * time.Second

func apply(ctx context.Context, s Streams, api *kubeapi.Client, objects []chart.Object, dryRun bool) error {
	did := "applied"
	if dryRun {
		did = "would be applied"
	}
	var crds []string
	for _, o := range objects {
		if o.Kind() != "CustomResourceDefinition" && len(crds) > 0 && !dryRun {
			for _, name := range crds {
				if err := api.Established(ctx, name, crdLimit); err != nil {
					return err
				}
			}
			crds = nil
		}
		if err := api.Apply(ctx, o, kubeapi.Applied{Owner: installOwner, Force: true, DryRun: dryRun}); err != nil {
			return fmt.Errorf("apply %s: %w", o, err)
		}
		if o.Kind() == "CustomResourceDefinition" {
			crds = append(crds, o.Name())
		}
		s.say("%s %s", o, did)
	}
	if !dryRun && slices.ContainsFunc(objects, func(o chart.Object) bool { return o.Kind() == "DaemonSet" }) {
		s.say("the agents are being placed; etcd is not touched. Next: `%s adopt --dry-run`, as root on a control-plane node", s.Name)
	}
	return nil
}
