package node

import (
	"fmt"
	"strconv"
	"time"
)

// Lineage says which cluster each epoch had: an epoch counts recoveries, and
// each recovery makes a new cluster id (a random token, P1). So the epoch of a
// data dir follows from its cluster id and is written nowhere else.
type Lineage []Generation

// Generation is one epoch of the cluster.
type Generation struct {
	Epoch int64 `json:"epoch"`
	// ClusterID in etcd's hexadecimal form.
	ClusterID string    `json:"clusterID"`
	Since     time.Time `json:"since"`
	// Recovery is the id of the recovery that made it, empty for epoch 0.
	Recovery string `json:"recovery,omitempty"`
}

// Validate refuses a lineage that does not grow strictly or names one cluster
// twice.
func (l Lineage) Validate() error {
	ids := map[string]int64{}
	for i, g := range l {
		if i > 0 && g.Epoch <= l[i-1].Epoch {
			return fmt.Errorf("lineage: epoch %d follows epoch %d", g.Epoch, l[i-1].Epoch)
		}
		if _, err := strconv.ParseUint(g.ClusterID, 16, 64); err != nil {
			return fmt.Errorf("lineage: epoch %d: cluster id %q is not hexadecimal", g.Epoch, g.ClusterID)
		}
		if e, ok := ids[g.ClusterID]; ok {
			return fmt.Errorf("lineage: cluster %s stands for epochs %d and %d", g.ClusterID, e, g.Epoch)
		}
		ids[g.ClusterID] = g.Epoch
	}
	return nil
}

// Current is the newest generation; false if nothing is known.
func (l Lineage) Current() (Generation, bool) {
	if len(l) == 0 {
		return Generation{}, false
	}
	return l[len(l)-1], true
}

// EpochOf is the epoch of a cluster id; false if the cluster is unknown.
func (l Lineage) EpochOf(clusterID string) (int64, bool) {
	for _, g := range l {
		if g.ClusterID == clusterID {
			return g.Epoch, true
		}
	}
	return 0, false
}

// Merge adds the generations of another node's lineage. Two nodes that name
// different clusters for one epoch have lived through two recoveries at once:
// that is never merged, and a person must say which one lives.
func (l Lineage) Merge(other Lineage) (Lineage, bool, error) {
	out := append(Lineage(nil), l...)
	changed := false
	for _, g := range other {
		i := 0
		for i < len(out) && out[i].Epoch < g.Epoch {
			i++
		}
		if i < len(out) && out[i].Epoch == g.Epoch {
			if out[i].ClusterID != g.ClusterID {
				return l, false, fmt.Errorf("epoch %d is cluster %s here and cluster %s there: two recoveries were run apart from each other; decide which one lives, and wipe the other's nodes", g.Epoch, out[i].ClusterID, g.ClusterID)
			}
			continue
		}
		out = append(out[:i], append(Lineage{g}, out[i:]...)...)
		changed = true
	}
	if err := out.Validate(); err != nil {
		return l, false, err
	}
	return out, changed, nil
}

// FormatID prints an etcd id as etcdctl does.
func FormatID(id uint64) string { return strconv.FormatUint(id, 16) }
