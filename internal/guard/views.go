package guard

import (
	"fmt"
	"slices"
	"strings"

	"clusteretcd.io/ceo/internal/node"
)

// View is one peer's answer.
type View struct {
	Endpoint     string   `json:"endpoint"`
	ClusterID    string   `json:"clusterID"`
	Members      []Member `json:"-"`
	Linearizable bool     `json:"linearizable"`
}

// MergeViews finds the one view that counts. Peers of two clusters at once are
// what a recovery leaves behind while old members still run: then the newest
// recorded cluster counts. A cluster that no lineage names may be newer than
// all of them; against it only a living quorum counts, and otherwise it is a
// conflict (P12).
func MergeViews(views []View, lineage node.Lineage, memberID string) Peers {
	views = slices.Clone(views)
	slices.SortStableFunc(views, func(a, b View) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	best := map[string]View{}
	var order []string
	for _, v := range views {
		b, seen := best[v.ClusterID]
		if !seen {
			order = append(order, v.ClusterID)
		}
		if !seen || better(v, b, memberID) {
			best[v.ClusterID] = v
		}
	}
	if len(order) == 0 {
		return Peers{}
	}
	chosen, epoch, known := View{}, int64(-1), false
	var unknown []View
	for _, id := range order {
		e, ok := lineage.EpochOf(id)
		switch {
		case !ok:
			unknown = append(unknown, best[id])
		case e > epoch:
			chosen, epoch, known = best[id], e, true
		}
	}
	current, _ := lineage.Current()
	currentLives := known && chosen.Linearizable && chosen.ClusterID == current.ClusterID
	switch {
	case !known && len(unknown) == 1:
		chosen = unknown[0]
	case len(unknown) > 0 && !currentLives:
		return Peers{Reachable: true, Conflict: contradiction(best, order, lineage)}
	}
	p := Peers{Reachable: true, ClusterID: chosen.ClusterID, Members: chosen.Members, Linearizable: chosen.Linearizable}
	if known {
		p.EpochKnown, p.Epoch = true, epoch
	}
	return p
}

// better: a confirmed list beats a member's own; among own views the one that
// lists this member does, for a member that is behind may have missed its
// addition, and starting with its whole data is safe either way.
func better(a, b View, memberID string) bool {
	if a.Linearizable != b.Linearizable {
		return a.Linearizable
	}
	_, inA := Peers{Members: a.Members}.member(memberID)
	_, inB := Peers{Members: b.Members}.member(memberID)
	return inA && !inB
}

func contradiction(best map[string]View, order []string, lineage node.Lineage) string {
	var said []string
	for _, id := range order {
		epoch := "no recorded epoch"
		if e, ok := lineage.EpochOf(id); ok {
			epoch = fmt.Sprintf("epoch %d", e)
		}
		said = append(said, fmt.Sprintf("%s is of cluster %s (%s)", best[id].Endpoint, id, epoch))
	}
	return "the peers contradict each other: " + strings.Join(said, ", ")
}
