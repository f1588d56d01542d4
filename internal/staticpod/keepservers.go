package staticpod

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// PlacedServers is what was last placed as kube-apiserver's list of etcd servers. It is on disk before the manifest is.
type PlacedServers struct {
	// Servers that were placed, and Manifest (SHA-256) that has them.
	Servers  []string `json:"servers"`
	Manifest string   `json:"manifest"`
	// Original are those that were there before the first change, or that kubeadm or a person wrote since.
	Original []string `json:"original"`
	// Before has the manifest of each pod that ran when it was placed, by the kubelet's hash of the pod.
	Before map[string]string `json:"before,omitempty"`
}

// Stale reports whether a pod with one of these hashes, of the kubelet's, is of another manifest than the one that was
// placed.
func (s PlacedServers) Stale(pods []string) bool {
	return slices.ContainsFunc(pods, func(h string) bool { m, ok := s.Before[h]; return ok && m != s.Manifest })
}

func placedServersPath(p node.Paths) string { return filepath.Join(p.State(), "etcd-servers.json") }

// ReadPlacedServers reads what was placed last; false where nothing ever was.
func ReadPlacedServers(p node.Paths) (PlacedServers, bool, error) {
	s, err := durable.ReadJSON[PlacedServers](placedServersPath(p))
	if errors.Is(err, fs.ErrNotExist) {
		return PlacedServers{}, false, nil
	}
	return s, err == nil, err
}

// HashManifest names a manifest by what it holds.
func HashManifest(manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return hex.EncodeToString(sum[:])
}

// PlaceServers gives the kube-apiserver manifest in dir another list, whole or not at all, and keeps the one that kubeadm
// or a person wrote, byte for byte, beside kubeadm's other one. pods are the hashes of those that run now. It does
// nothing where the list is there. dir is the kubelet's folder, or that of the manifests that are out of service.
func PlaceServers(p node.Paths, dir string, servers, pods []string) (changed bool, err error) {
	live, err := os.ReadFile(filepath.Join(dir, APIServerFile)) //nolint:gosec // the caller names the folder
	if err != nil {
		return false, fmt.Errorf("kube-apiserver's manifest: %w", err)
	}
	have, err := EtcdServers(live)
	if err != nil {
		return false, err
	}
	if slices.Equal(have, servers) {
		return false, nil
	}
	want, err := RenderEtcdServers(live, servers)
	if err != nil {
		return false, err
	}
	last, known, err := ReadPlacedServers(p)
	if err != nil {
		// A recovery must not end here: what is lost is which list to put back in the end.
		if err := durable.Rename(placedServersPath(p), placedServersPath(p)+".damaged"); err != nil {
			return false, err
		}
	}
	ours := known && last.Manifest == HashManifest(live)
	now := PlacedServers{Servers: servers, Manifest: HashManifest(want), Original: last.Original, Before: map[string]string{}}
	for _, h := range pods {
		now.Before[h] = HashManifest(live)
		if m, ok := last.Before[h]; ok && ours {
			now.Before[h] = m // the kubelet is not through with the last change
		}
	}
	if !ours {
		if err := durable.MkdirAll(p.Kubeadm(), 0o700); err != nil {
			return false, err
		}
		if err := durable.WriteFile(filepath.Join(p.Kubeadm(), APIServerFile), live, 0o600); err != nil {
			return false, fmt.Errorf("keep kube-apiserver's manifest: %w", err)
		}
		// Somebody who changed another flag of a manifest with our list did not choose the list.
		if !known || !slices.Equal(have, last.Servers) {
			now.Original = have
		}
	}
	if err := durable.WriteJSON(placedServersPath(p), now, 0o600); err != nil {
		return false, err
	}
	reached("servers: recorded")
	return true, Place(dir, APIServerFile, want)
}

// OriginalServers is the kube-apiserver manifest of this node with the list that it had before ceo changed it; nil where
// there is nothing to put back.
func OriginalServers(p node.Paths) ([]byte, error) {
	last, known, err := ReadPlacedServers(p)
	if err != nil || !known || len(last.Original) == 0 {
		return nil, err
	}
	live, err := os.ReadFile(filepath.Join(p.Manifests(), APIServerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	have, err := EtcdServers(live)
	if err != nil || !slices.Equal(have, last.Servers) || slices.Equal(have, last.Original) {
		return nil, nil //nolint:nilerr // not ours: it stays as it is
	}
	return RenderEtcdServers(live, last.Original)
}
