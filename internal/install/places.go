package install

import (
	"path/filepath"

	"clusteretcd.io/ceo/internal/node"
)

// AgentPlaces are what the agent's manifest takes from the node below root: the folder of the container runtime's socket,
// "" where none is found, and the folders of public CAs.
func AgentPlaces(p node.Paths, socket string) (runtimeDir string, cas []string) {
	if s, err := runtimeSocket(p, socket); err == nil {
		runtimeDir = filepath.Dir(s)
	}
	return runtimeDir, caDirs(p.Root)
}
