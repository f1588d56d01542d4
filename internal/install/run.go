package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

// agentLimit bounds the wait for the agent's pod and for its answer, each.
const agentLimit = 90 * time.Second

// Options of an installation or its end.
type Options struct {
	Paths node.Paths
	// Image of ceo. Empty for Uninstall.
	Image string
	// RuntimeSocket of the CRI, empty to look in the usual places.
	RuntimeSocket string
	// AcceptDowntime is the named consent to stop the API for some seconds.
	AcceptDowntime bool
	// LockWait is how long to wait for another run.
	LockWait time.Duration
	// DryRun decides and changes nothing.
	DryRun bool
	// Progress gets a line for each thing that begins or is waited for.
	Progress func(format string, args ...any)
	// Agents is nil for those of this node and cluster.
	Agents Agents
	// HostRoot is where a Pod sees the host's /etc, to know which folders of it the agent is to mount; empty on the host.
	HostRoot string

	// agentOnly leaves etcd's manifest as it is.
	agentOnly bool
}

// run is one installation or its end.
type run struct {
	o       Options
	verb    string
	decide  func(Facts, bool) (Plan, error)
	agents  Agents
	host    *host
	runtime *cri.Runtime
	cluster *cluster
	facts   Facts
	view    view
	config  node.Config
}

// Install puts ceo on this node, or repairs and updates it where it is already; it changes nothing where all is well.
func Install(ctx context.Context, o Options) (Plan, error) {
	if o.Image == "" {
		return Plan{}, errors.New("no image of ceo is named")
	}
	return perform(ctx, o, "ceo node install", DecideInstall)
}

// Uninstall gives the node back to kubeadm alone. What is below /var/lib/ceo stays: archives are data.
func Uninstall(ctx context.Context, o Options) (Plan, error) {
	o.Image = ""
	return perform(ctx, o, "ceo node uninstall", DecideUninstall)
}

func perform(ctx context.Context, o Options, verb string, decide func(Facts, bool) (Plan, error)) (Plan, error) {
	r := &run{o: o, verb: verb, decide: decide, agents: o.Agents}
	if r.agents == nil {
		r.agents = agents{o.Paths}
	}
	defer r.close()
	plan, err := r.observe(ctx)
	if err != nil || o.DryRun {
		return plan, err
	}
	if plan.Restarts() {
		held, err := lock.Acquire(ctx, r.cluster.all, verb+" on "+r.host.self.Name, o.LockWait, func(h lock.Holder) {
			o.Progress("waiting for %s, which has the lock since %s", h.Who, h.Since.Format(time.RFC3339))
		})
		if err != nil {
			return plan, err
		}
		defer held.Release()
		// What was seen before the lock may be history (I6, I7).
		if plan, err = r.observe(ctx); err != nil {
			return plan, err
		}
		return plan, r.apply(ctx, plan, held.Check)
	}
	return plan, r.apply(ctx, plan, func(context.Context) error { return nil })
}

func (r *run) close() {
	if r.cluster != nil {
		r.cluster.close()
	}
	if r.runtime != nil {
		_ = r.runtime.Close()
	}
}

// observe gathers and decides; it is done anew once the lock is ours.
func (r *run) observe(ctx context.Context) (Plan, error) {
	var err error
	if r.host, err = readHost(r.o.Paths, r.o); err != nil {
		return Plan{}, err
	}
	if r.runtime == nil {
		if r.runtime, err = cri.Open(filepath.Join(r.o.Paths.Root, r.host.runtimeSocket)); err != nil {
			return Plan{}, err
		}
	}
	if r.cluster == nil {
		if r.cluster, err = r.connect(); err != nil {
			return Plan{}, err
		}
	}
	if r.facts, r.view, err = r.host.facts(ctx, r.o, r.cluster, r.runtime, r.agents); err != nil {
		return Plan{}, err
	}
	if r.o.Image != "" && r.facts.Self != 0 {
		var changed bool
		if r.config, changed, err = r.host.config(ctx, r.cluster, r.view, r.facts.Self, r.agents, r.facts.AgentCert == ""); err != nil {
			return Plan{}, err
		}
		r.facts.ConfigCurrent = !changed
	}
	return r.decide(r.facts, r.o.AcceptDowntime)
}

// connect reaches etcd over this node's member, or over a peer's where this one is down.
func (r *run) connect() (*cluster, error) {
	local := r.host.flags.LocalClientURL()
	var others []string
	if c, err := durable.ReadJSON[node.Config](r.o.Paths.Config()); err == nil {
		for _, p := range c.Peers {
			if p.ClientURL != "" {
				others = append(others, p.ClientURL)
			}
		}
	}
	return connect(r.o.Paths, local, others)
}

func (r *run) apply(ctx context.Context, plan Plan, stillOurs func(context.Context) error) error {
	if err := r.ensureKubelet(ctx); err != nil {
		return err
	}
	p := r.o.Paths
	for _, step := range plan.Steps {
		r.o.Progress("%s: %s", r.host.self.Name, step.Text)
		var err error
		switch step.Do {
		case IssueAgentCert:
			_, err = pki.EnsureAgent(p, r.host.self.Name, r.host.self.Address, time.Now())
		case IssueAdminCert:
			_, err = pki.EnsureAdmin(p, r.host.self.Name, time.Now())
		case IssueOperatorCert:
			_, err = pki.EnsureOperator(p, r.host.self.Name, time.Now())
		case WriteConfig:
			err = r.writeConfig(ctx)
		case SaveKubeadm:
			err = saveKubeadm(p, r.host.live)
		case PlaceAgent:
			err = r.placeAgent(ctx)
		case MoveLeader:
			err = r.cluster.moveLeader(ctx, r.view, r.facts.Self)
		case RestartEtcd:
			if err = r.mayStill(ctx, stillOurs); err == nil {
				err = r.restartEtcd(ctx)
			}
		case RemoveAgent:
			err = r.removeAgent(ctx)
		case PutServersBack:
			err = r.putServersBack(ctx)
		}
		if err != nil {
			return err
		}
	}
	return r.verify(ctx)
}

// mayStill looks again right before etcd is stopped: the steps before took their time (I6).
func (r *run) mayStill(ctx context.Context, stillOurs func(context.Context) error) error {
	v, err := r.cluster.look(ctx)
	if err != nil {
		return err
	}
	r.facts.Members, r.facts.Leader, r.facts.Why = v.healthy, v.leader, v.why
	if err := mayRestart(r.facts, r.o.AcceptDowntime); err != nil {
		return err
	}
	return stillOurs(ctx)
}

// writeConfig asks the peers again if there was no certificate to ask them with before.
func (r *run) writeConfig(ctx context.Context) error {
	var err error
	if r.facts.AgentCert != "" {
		if r.config, _, err = r.host.config(ctx, r.cluster, r.view, r.facts.Self, r.agents, true); err != nil {
			return err
		}
	}
	if err := durable.MkdirAll(r.o.Paths.State(), 0o700); err != nil {
		return err
	}
	if err := node.Save(r.o.Paths, r.config); err != nil || r.host.agent == nil {
		return err
	}
	// An agent that does not answer reads it when it starts.
	limited, cancel := context.WithTimeout(ctx, perMember)
	defer cancel()
	if _, err := r.agents.Local(limited); err != nil {
		return nil //nolint:nilerr // see above
	}
	return r.agents.Teach(limited, r.config.Lineage)
}

func saveKubeadm(p node.Paths, manifest []byte) error {
	if err := durable.MkdirAll(p.Kubeadm(), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(p.Kubeadm(), staticpod.EtcdFile), manifest, 0o600)
}

func (r *run) placeAgent(ctx context.Context) error {
	old, err := r.containers(ctx, staticpod.AgentName)
	if err != nil {
		return err
	}
	if err := staticpod.Place(r.o.Paths.Manifests(), staticpod.AgentFile, r.host.wantAgent); err != nil {
		return err
	}
	if err := r.replaced(ctx, staticpod.AgentName, old, agentLimit); err != nil {
		return err
	}
	return r.waitAgent(ctx)
}

// waitAgent waits until the agent answers on its socket.
func (r *run) waitAgent(ctx context.Context) error {
	return wait(ctx, "waiting for the agent on this node", agentLimit, func(ctx context.Context) error {
		if _, err := r.agents.Local(ctx); err != nil {
			return fmt.Errorf("%w: see `crictl ps -a` and `crictl logs`", err)
		}
		return nil
	})
}

// containers are the ids of a static pod's running containers. Ids, not images: a runtime need not say by which name an
// image was asked for.
func (r *run) containers(ctx context.Context, pod string) (map[string]bool, error) {
	cs, err := r.runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, c := range cri.RunningStatic(cs, pod) {
		ids[c.ID] = true
	}
	return ids, nil
}

// replaced waits until none of the old containers runs and another does (P10).
func (r *run) replaced(ctx context.Context, pod string, old map[string]bool, limit time.Duration) error {
	return wait(ctx, "waiting for the kubelet to start "+pod+" from its new manifest", limit, func(ctx context.Context) error {
		now, err := r.containers(ctx, pod)
		if err != nil {
			return err
		}
		for id := range now {
			if old[id] {
				return fmt.Errorf("the container of before (%.12s) still runs", id)
			}
		}
		if len(now) == 0 {
			return errors.New("its container does not run yet: see `crictl ps -a` and `journalctl -u kubelet`")
		}
		return nil
	})
}

func (r *run) removeAgent(ctx context.Context) error {
	dir := r.o.Paths.Manifests()
	if err := os.Remove(filepath.Join(dir, staticpod.AgentFile)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the agent: %w", err)
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	return wait(ctx, "waiting for the agent to be gone", agentLimit, func(ctx context.Context) error {
		running, err := r.containers(ctx, staticpod.AgentName)
		if err != nil {
			return err
		}
		if len(running) > 0 {
			return errors.New("its container runs")
		}
		return nil
	})
}

// verify looks at the end, also where nothing was to be done, and leaves the node's name in etcd for those that join.
func (r *run) verify(ctx context.Context) error {
	if r.o.Image == "" {
		if r.host.guarded || r.facts.AgentPlaced {
			return r.cluster.note(ctx, r.host.self.Name, false)
		}
		return nil
	}
	if err := r.waitAgent(ctx); err != nil {
		return err
	}
	if r.o.agentOnly {
		return r.cluster.note(ctx, r.host.self.Name, true)
	}
	if err := wait(ctx, "waiting for the guard", agentLimit, guardReady); err != nil {
		return r.withGuardsWords(err, time.Time{})
	}
	return r.cluster.note(ctx, r.host.self.Name, true)
}
