package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/guard"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/recovery/engine"
	"clusteretcd.io/ceo/internal/staticpod"
)

// standing is what a node's own fence is decided from.
type standing struct {
	lineage     node.Lineage
	dataCluster string // "" where there is no data
	held        bool   // somebody, a recovery most often, holds etcd already
	guard       string // the guard's state
	needsAdding bool   // the guard waits to be added
	// elsewhere: kube-apiserver here asks another node's etcd as well.
	elsewhere bool
	// fenced: this agent took the control plane out of service before.
	fenced bool
	// voter: etcd here serves as a voter of the newest epoch and has a leader.
	voter bool
}

type fenceAction string

const (
	fenceNothing fenceAction = "nothing"
	// fenceEtcd: stop kube-apiserver and its companions, then make the guard
	// decide anew.
	fenceEtcd fenceAction = "fence"
	// fenceControlPlane: etcd does not serve until it is added; kube-apiserver
	// on it only crashes, into a back-off that outlasts the repair.
	fenceControlPlane fenceAction = "control-plane-out"
	// unfence: the member is back as a voter.
	unfence fenceAction = "control-plane-in"
)

// decideFence is pure. A member that runs on while a recovery happened
// elsewhere is stopped as soon as a newer epoch is known (I4, P11).
func decideFence(s standing) (fenceAction, string) {
	cur, known := s.lineage.Current()
	if !known || s.held {
		return fenceNothing, "no lineage, or held by somebody else"
	}
	if s.dataCluster != "" && s.dataCluster != cur.ClusterID {
		epoch, ok := s.lineage.EpochOf(s.dataCluster)
		if ok && epoch < cur.Epoch && (s.guard == string(guard.Running) || s.guard == string(guard.Starting)) {
			return fenceEtcd, fmt.Sprintf("etcd here is of epoch %d (cluster %s), and epoch %d (cluster %s) lives: it must not serve on", epoch, s.dataCluster, cur.Epoch, cur.ClusterID)
		}
	}
	// An API server that has another etcd to ask goes on with it: on a node that has just joined, nothing is wrong. Not after
	// a recovery, though: it may have caches of before (I16).
	if s.needsAdding && s.elsewhere && cur.Epoch == 0 {
		return fenceNothing, "etcd here waits to be added to the cluster, and kube-apiserver asks another node's"
	}
	if s.needsAdding && !s.fenced {
		return fenceControlPlane, "etcd here waits to be added to the cluster; kube-apiserver cannot work until then"
	}
	if s.fenced && s.voter {
		return unfence, "etcd here is a voter of the present cluster again"
	}
	return fenceNothing, "nothing to fence"
}

// fencedPath marks that the control plane was taken out of service by the fence
// and not by a person.
func (a *Agent) fencedPath() string { return filepath.Join(a.paths.State(), "fenced.json") }

func (a *Agent) fenceIfOld(ctx context.Context) error {
	// Somebody changes this node right now, a recovery most often: looked at
	// again in a moment.
	if !a.act.TryLock() {
		return nil
	}
	defer a.act.Unlock()
	s := a.standing(ctx)
	act, why := decideFence(s)
	if act == fenceNothing {
		return nil
	}
	a.log.Warn("fence", "action", string(act), "why", why)
	switch act {
	case fenceEtcd:
		return a.fenceSelf(ctx, why)
	case fenceControlPlane:
		if err := a.markFenced(why); err != nil {
			return err
		}
		return a.stopComponents(ctx, engine.Components)
	case unfence:
		if err := a.ownEtcdAlone(ctx, engine.Components); err != nil {
			return err
		}
		if err := a.startComponents(ctx, engine.Components, false); err != nil {
			return err
		}
		return a.unmarkFenced()
	case fenceNothing:
	}
	return nil
}

func (a *Agent) markFenced(why string) error {
	return durable.WriteJSON(a.fencedPath(), map[string]string{"why": why, "at": time.Now().UTC().Format(time.RFC3339)}, 0o600)
}

func (a *Agent) unmarkFenced() error {
	if err := os.Remove(a.fencedPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end the fence: %w", err)
	}
	return durable.SyncDir(a.paths.State())
}

// fenceSelf stops this node's control plane and etcd; the guard, let go again,
// sees the newer epoch, sets the data aside and waits to be added.
func (a *Agent) fenceSelf(ctx context.Context, why string) error {
	if err := a.markFenced(why); err != nil {
		return err
	}
	cur, _ := a.Config().Lineage.Current()
	id := fmt.Sprintf("fence/epoch-%d", cur.Epoch)
	stop := func() error { return a.stopComponents(ctx, engine.Components) }
	// Both at once: with the etcd beside it gone, kube-apiserver would go on with the others of its list, and those may be of
	// the cluster that lives (I4). Without a guard the kubelet is stopped for etcd's end: one after the other.
	stopped := make(chan error, 1)
	guarded := a.guarded()
	if guarded {
		go func() { stopped <- stop() }()
	}
	_, err := a.holdEtcd(ctx, node.Hold{ID: id, Reason: why, Since: time.Now().UTC(), Fast: true})
	if guarded {
		err = errors.Join(err, <-stopped)
	} else if err == nil {
		err = stop()
	}
	if err != nil {
		return err
	}
	return a.releaseEtcd(ctx, id)
}

func (a *Agent) standing(ctx context.Context) standing {
	c := a.Config()
	s := standing{lineage: c.Lineage, fenced: exists(a.fencedPath())}
	if h, err := durable.ReadJSON[node.Hold](a.paths.Hold()); err == nil {
		// A fence of our own that a crash cut short is gone on with.
		s.held = true
		if cur, ok := c.Lineage.Current(); ok && h.ID == fmt.Sprintf("fence/epoch-%d", cur.Epoch) {
			if err := a.fenceSelf(ctx, h.Reason); err != nil {
				a.log.Error("go on with the fence", "error", err)
			}
		}
	}
	if id, err := a.dataCluster(); err == nil {
		s.dataCluster = id
	}
	if g, err := guard.Dial(a.paths).Status(ctx); err == nil {
		s.guard = string(g.State)
		s.needsAdding = g.State == guard.Waiting && g.Decision.Needs == guard.NeedAdd
	}
	if s.needsAdding && !s.fenced {
		s.elsewhere = a.asksElsewhere(c.Address)
	}
	if s.fenced && s.guard == string(guard.Running) {
		s.voter = isVoter(a.etcd.state(ctx), c.Lineage)
	}
	return s
}

// asksElsewhere reads kube-apiserver's manifest: does it have another node's etcd to ask?
func (a *Agent) asksElsewhere(own string) bool {
	raw, err := os.ReadFile(filepath.Join(a.paths.Manifests(), staticpod.APIServerFile))
	if err != nil {
		return false
	}
	pod, err := staticpod.Parse(raw)
	return err == nil && staticpod.Elsewhere(staticpod.ServersOf(pod), own)
}

func isVoter(st *agentpb.Etcd, l node.Lineage) bool {
	cur, ok := l.Current()
	return ok && st.GetAnswers() && st.GetHasLeader() && !st.GetLearner() && st.GetClusterId() == cur.ClusterID
}

// dataCluster is the cluster of the data on this node's disk, "" without data.
func (a *Agent) dataCluster() (string, error) {
	id, err := dataClusterOf(a.Config().DataDir)
	if err != nil {
		id = ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.data = dataSeen{cluster: id, at: time.Now()}
	return id, err
}

// dataSeen is what dataCluster found last; "" where it could not be read.
type dataSeen struct {
	cluster string
	at      time.Time
}

// toldCluster is what peers are told: what was read at the last look for the fence. It is for people to read, and
// each peer asks as often as the fence does. Whatever decides anything reads the data dir itself.
func (a *Agent) toldCluster() string {
	a.mu.Lock()
	d := a.data
	a.mu.Unlock()
	if age := time.Since(d.at); age > peersEvery+peersEvery/4 {
		id, err := a.dataCluster()
		if err != nil {
			return ""
		}
		return id
	}
	return d.cluster
}

func dataClusterOf(dir string) (string, error) {
	ids, err := datadir.ReadIDs(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return node.FormatID(ids.ClusterID), nil
}
