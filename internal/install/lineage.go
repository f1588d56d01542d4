package install

import (
	"fmt"
	"net/url"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// decideLineage says which cluster each epoch had, for this node's node.json: what it has, what its peers know, and for
// the first node of all that the present cluster is epoch 0.
//
// installed says that other nodes have ceo; then one of them must have answered: a node that joined after a recovery
// would call the present cluster epoch 0, where the others have another for it, and the two could never be merged.
func decideLineage(have node.Lineage, peers []node.Lineage, installed []string, clusterID string, now time.Time) (node.Lineage, error) {
	out := have
	for _, l := range peers {
		merged, _, err := out.Merge(l)
		if err != nil {
			return nil, err
		}
		out = merged
	}
	if len(out) == 0 {
		if len(installed) > 0 {
			return nil, fmt.Errorf("ceo is on %v, but none of their agents answered: this node must learn from one of them which recoveries there were; see that port %d between the nodes is open", installed, node.AgentPort)
		}
		return node.Lineage{{Epoch: 0, ClusterID: clusterID, Since: now.UTC().Truncate(time.Second)}}, nil
	}
	if current, _ := out.Current(); current.ClusterID != clusterID {
		return nil, fmt.Errorf("etcd on this node is of cluster %s, but the current one is %s (epoch %d): its data is of before a recovery and must not be installed as it is", clusterID, current.ClusterID, current.Epoch)
	}
	return out, nil
}

// hostOf is the host of the first URL that has one.
func hostOf(urls ...string) string {
	for _, raw := range urls {
		if u, err := url.Parse(raw); err == nil && u.Hostname() != "" {
			return u.Hostname()
		}
	}
	return ""
}
