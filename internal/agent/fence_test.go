package agent

import (
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/node"
)

func twoEpochs() node.Lineage {
	return node.Lineage{{Epoch: 0, ClusterID: "a"}, {Epoch: 1, ClusterID: "b"}}
}

func TestDecideFence(t *testing.T) {
	running := string(guard.Running)
	for _, c := range []struct {
		name string
		s    standing
		want fenceAction
	}{
		{"I4, P11: runs on in an older epoch", standing{lineage: twoEpochs(), dataCluster: "a", guard: running}, fenceEtcd},
		{"about to run in an older epoch", standing{lineage: twoEpochs(), dataCluster: "a", guard: string(guard.Starting)}, fenceEtcd},
		{"of the present epoch", standing{lineage: twoEpochs(), dataCluster: "b", guard: running}, fenceNothing},
		{"held by a recovery already", standing{lineage: twoEpochs(), dataCluster: "a", guard: running, held: true}, fenceNothing},
		{"the guard has stopped it by itself", standing{lineage: twoEpochs(), dataCluster: "a", guard: string(guard.Waiting)}, fenceNothing},
		{"I23: a cluster that no lineage names is not fenced on suspicion", standing{lineage: twoEpochs(), dataCluster: "x", guard: running}, fenceNothing},
		{"waits to be added: no API server can work on it", standing{lineage: twoEpochs(), guard: string(guard.Waiting), needsAdding: true}, fenceControlPlane},
		{"has just joined: the API server has another etcd to ask", standing{lineage: twoEpochs()[:1], guard: string(guard.Waiting), needsAdding: true, elsewhere: true}, fenceNothing},
		{"has just joined, and has none", standing{lineage: twoEpochs()[:1], guard: string(guard.Waiting), needsAdding: true}, fenceControlPlane},
		{"I16: after a recovery its caches may be of before", standing{lineage: twoEpochs(), guard: string(guard.Waiting), needsAdding: true, elsewhere: true}, fenceControlPlane},
		{"I4: another etcd to ask is no leave to run on", standing{lineage: twoEpochs(), dataCluster: "a", guard: running, elsewhere: true}, fenceEtcd},
		{"once is enough", standing{lineage: twoEpochs(), guard: string(guard.Waiting), needsAdding: true, fenced: true}, fenceNothing},
		{"still catching up", standing{lineage: twoEpochs(), dataCluster: "b", guard: running, fenced: true}, fenceNothing},
		{"back as a voter", standing{lineage: twoEpochs(), dataCluster: "b", guard: running, fenced: true, voter: true}, unfence},
		{"a voter whose control plane a person stopped", standing{lineage: twoEpochs(), dataCluster: "b", guard: running, voter: true}, fenceNothing},
		{"nothing recorded", standing{dataCluster: "a", guard: running}, fenceNothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := decideFence(c.s)
			if got != c.want || why == "" {
				t.Fatalf("%s (%s), want %s", got, why, c.want)
			}
		})
	}
}

// A member of the newest epoch is never stopped by the fence, whatever else is
// seen.
func TestFenceNeverStopsTheLivingCluster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := standing{
			lineage: twoEpochs(), dataCluster: rapid.SampledFrom([]string{"", "a", "b", "x"}).Draw(t, "data"),
			held: rapid.Bool().Draw(t, "held"), guard: rapid.SampledFrom([]string{"running", "starting", "waiting", "held", ""}).Draw(t, "guard"),
			needsAdding: rapid.Bool().Draw(t, "needs"), fenced: rapid.Bool().Draw(t, "fenced"), voter: rapid.Bool().Draw(t, "voter"), elsewhere: rapid.Bool().Draw(t, "elsewhere"),
		}
		got, _ := decideFence(s)
		if got == fenceEtcd && (s.dataCluster != "a" || s.held) {
			t.Fatalf("%+v was fenced", s)
		}
	})
}
