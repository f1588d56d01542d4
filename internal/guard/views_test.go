package guard

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/node"
)

func TestMergeViews(t *testing.T) {
	lineage := node.Lineage{{Epoch: 0, ClusterID: past}, {Epoch: 1, ClusterID: now}}
	view := func(endpoint, cluster string, confirmed bool, members ...Member) View {
		return View{Endpoint: endpoint, ClusterID: cluster, Linearizable: confirmed, Members: members}
	}
	for _, row := range []struct {
		name     string
		views    []View
		lineage  node.Lineage
		cluster  string
		lists    int
		conflict bool
	}{
		{name: "nobody", lineage: lineage},
		{name: "one", views: []View{view("a", now, true, me)}, lineage: lineage, cluster: now, lists: 1},
		{name: "confirmed beats own", views: []View{view("a", now, false, me), view("b", now, true, me, two)}, lineage: lineage, cluster: now, lists: 2},
		{name: "own views: the one that lists me", views: []View{view("a", now, false, two), view("b", now, false, me, two)}, lineage: lineage, cluster: now, lists: 2},
		{name: "old members still run: the newest epoch counts (P11)", views: []View{view("a", past, true, me, two, three), view("b", now, true, two)}, lineage: lineage, cluster: now, lists: 1},
		{name: "only the past", views: []View{view("a", past, true, me)}, lineage: lineage, cluster: past, lists: 1},
		{name: "one unknown cluster, nothing recorded", views: []View{view("a", alien, true, me)}, cluster: alien, lists: 1},
		{name: "two unknown clusters", views: []View{view("a", alien, true, me), view("b", "ddd8", true)}, conflict: true},
		{name: "an unknown cluster beside the current one with its quorum", views: []View{view("a", alien, true), view("b", now, true, me)}, lineage: lineage, cluster: now, lists: 1},
		{name: "an unknown cluster beside the current one without (P12)", views: []View{view("a", alien, true), view("b", now, false, me)}, lineage: lineage, conflict: true},
		{name: "an unknown cluster beside one of the past (P12)", views: []View{view("a", alien, true), view("b", past, true, me)}, lineage: lineage, conflict: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := MergeViews(row.views, row.lineage, me.ID)
			if (p.Conflict != "") != row.conflict || p.ClusterID != row.cluster || len(p.Members) != row.lists {
				t.Fatalf("got %+v", p)
			}
			if p.Reachable != (len(row.views) > 0) {
				t.Error("reachable is not whether anybody answered")
			}
			for _, v := range row.views {
				if row.conflict && !strings.Contains(p.Conflict, v.ClusterID) {
					t.Errorf("does not name %s: %s", v.ClusterID, p.Conflict)
				}
			}
		})
	}
}
