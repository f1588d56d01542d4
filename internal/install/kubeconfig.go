package install

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/internal/node"
)

// defaultClusterName is kubeadm's.
const defaultClusterName = "kubernetes"

// clusterName reads the cluster's name from kubeadm's admin.conf, and nothing else of it. What node.json has wins: a
// person may have been told to type it.
func clusterName(p node.Paths, known string) (string, error) {
	if known != "" {
		return known, nil
	}
	path := filepath.Join(filepath.Dir(p.Manifests()), "admin.conf")
	raw, err := os.ReadFile(path) //nolint:gosec // a fixed place below the node's root
	if os.IsNotExist(err) {
		return defaultClusterName, nil
	}
	if err != nil {
		return "", fmt.Errorf("the cluster's name: %w", err)
	}
	var kubeconfig struct {
		CurrentContext string `json:"current-context"`
		Contexts       []struct {
			Name    string `json:"name"`
			Context struct {
				Cluster string `json:"cluster"`
			} `json:"context"`
		} `json:"contexts"`
	}
	if err := yaml.Unmarshal(raw, &kubeconfig); err != nil {
		return "", fmt.Errorf("the cluster's name: %s is no kubeconfig: %w", path, err)
	}
	for _, c := range kubeconfig.Contexts {
		if c.Name == kubeconfig.CurrentContext && c.Context.Cluster != "" {
			return c.Context.Cluster, nil
		}
	}
	return defaultClusterName, nil
}
