package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/adopt"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/kubeapi"
)

const (
	// adoptOwner owns the fields that an adoption writes.
	adoptOwner = "ceo-adopt"
	// riskDowntime is internal/install's, by which a voter of one or two may be restarted.
	riskDowntime = "downtime"
	// adoptLimit bounds the wait for one node: its installer looks each 30 s, waits for the lock, and restarts etcd.
	adoptLimit = 12 * time.Minute
	adoptAgain = 2 * time.Second
)

// AdoptOptions of `ceo adopt`.
type AdoptOptions struct {
	Target     Target
	Format     Format
	Kubeconfig string
	DryRun     bool
	Yes        bool
	Confirm    string
	Accept     []string
}

// Adopt takes over the etcd that kubeadm made: node by node under the guard, then the EtcdCluster is Managed. It can be run
// again at any time, and goes on from where the cluster is.
func Adopt(ctx context.Context, s Streams, o AdoptOptions) error {
	for _, r := range o.Accept {
		if r != riskDowntime {
			return fmt.Errorf("--accept-risk=%s: the only risk here is %s", r, riskDowntime)
		}
	}
	api, err := kubeapi.Open(Kubeconfig(o.Kubeconfig))
	if err != nil {
		return err
	}
	conn, agent, err := o.Target.connect()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	a := adoption{s: s, o: o, api: api, observe: func(ctx context.Context) (*agentpb.Observation, error) {
		ob, err := observe(ctx, agent)
		if err != nil {
			return nil, o.Target.unanswered(err)
		}
		return ob, nil
	}, limit: adoptLimit, again: adoptAgain}
	return a.run(ctx)
}

// adoption is one run.
type adoption struct {
	s            Streams
	o            AdoptOptions
	api          *kubeapi.Client
	observe      func(context.Context) (*agentpb.Observation, error)
	limit, again time.Duration
}

func (a adoption) plan(ctx context.Context) (adopt.Plan, error) {
	ob, err := a.observe(ctx)
	if err != nil {
		return adopt.Plan{}, err
	}
	f, err := adoptFacts(ctx, a.api, ob, a.o.Accept)
	if err != nil {
		return adopt.Plan{}, err
	}
	return adopt.Decide(f), nil
}

func (a adoption) run(ctx context.Context) error {
	p, err := a.plan(ctx)
	if err != nil {
		return err
	}
	if err := a.s.show(a.o.Format, p, p.String); err != nil {
		return err
	}
	switch {
	case len(p.Refused) > 0:
		return silent(ExitRefused)
	case p.Done:
		return nil
	case a.o.DryRun:
		return silent(ExitNotHealthy) // changes pending
	}
	if err := a.consent(ctx, p); err != nil {
		return err
	}
	if p.Makes {
		if err := a.create(ctx, p.Spec); err != nil {
			return err
		}
	}
	for _, node := range p.Guard {
		if err := a.one(ctx, node); err != nil {
			return err
		}
	}
	if err := a.merge(ctx, "", v1alpha1.Managed); err != nil {
		return err
	}
	a.s.say("%s is adopted: the operator manages it. See `kubectl get etcdcluster cluster`", p.Cluster)
	return nil
}

func (a adoption) consent(ctx context.Context, p adopt.Plan) error {
	return a.consentTo(ctx, p.Cluster)
}

func (a adoption) consentTo(ctx context.Context, cluster string) error {
	switch {
	case a.o.Yes && a.o.Confirm == cluster:
		return nil
	case a.o.Yes:
		return exitf(ExitRefused, "this is cluster %q, and %q was confirmed: give --confirm-cluster=%s if that is the one you mean", cluster, a.o.Confirm, cluster)
	case !isTerminal(a.s.In) || !isTerminal(a.s.Err):
		return exitf(ExitRefused, "nobody can be asked here, as this is no terminal; if the plan above is what you want, add --yes --confirm-cluster=%s", quote(cluster))
	}
	_, _ = fmt.Fprint(a.s.Err, "Type the cluster's name to go on: ")
	got, err := a.s.line(ctx)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(got) != cluster {
		return exitf(ExitRefused, "%q is not %q: nothing was changed", strings.TrimSpace(got), cluster)
	}
	return nil
}

// create makes the EtcdCluster ask for what runs, and Unmanaged: the operator reports and changes nothing.
func (a adoption) create(ctx context.Context, want adopt.Spec) error {
	timing := map[string]any{"profile": want.Profile}
	if want.Heartbeat > 0 {
		timing["heartbeatMilliseconds"], timing["electionMilliseconds"] = want.Heartbeat, want.Election
	}
	err := a.api.Apply(ctx, map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "EtcdCluster", "metadata": map[string]any{"name": v1alpha1.ClusterName},
		"spec": map[string]any{"managementState": v1alpha1.Unmanaged, "quota": want.Quota, "timing": timing},
	}, kubeapi.Applied{Owner: adoptOwner})
	if err != nil {
		return fmt.Errorf("make the EtcdCluster: %w", err)
	}
	return nil
}

// one gives a node its turn, waits until its etcd runs under the guard, and takes the turn back whatever happened: nothing
// is to be restarted that nobody watches.
func (a adoption) one(ctx context.Context, node string) (err error) {
	// What was planned may be history (I6): another member may be down by now.
	p, err := a.plan(ctx)
	if err != nil {
		return err
	}
	if len(p.Refused) > 0 {
		return exitf(ExitRefused, "before the turn of %s: %s", node, strings.Join(p.Refused, "; "))
	}
	if !slices.Contains(p.Guard, node) {
		a.s.say("%s: is under the guard already", node)
		return nil
	}
	a.s.say("%s: its turn; waiting for its installer", node)
	if err := a.merge(ctx, node, ""); err != nil {
		return err
	}
	defer func() {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), observeLimit)
		defer cancel()
		if e := a.merge(back, "", ""); e != nil && err == nil {
			err = e
		}
	}()
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	for {
		// Its API server may be the one that is asked here, and goes down with its etcd for seconds.
		why := a.waitsFor(limited, node)
		if why == "" {
			a.s.say("%s: etcd runs under the guard, after %s", node, time.Since(began).Round(time.Second))
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limited.Done():
			return fmt.Errorf("%s is not under the guard after %s: %s. See `kubectl -n kube-system logs -l app.kubernetes.io/name=ceo-installer --prefix`, then run this again", node, a.limit, why)
		case <-time.After(a.again):
		}
	}
}

// waitsFor says why a node is not done; "" if it is.
func (a adoption) waitsFor(ctx context.Context, node string) string {
	ob, err := a.observe(ctx)
	if err != nil {
		return err.Error()
	}
	n := adoptNode(node, nil, ob)
	switch {
	case !n.Agent:
		return n.Why
	case !n.Guarded:
		return "its etcd is not under the guard yet"
	case !n.Healthy:
		return n.Why
	}
	return ""
}

// merge notes whose turn it is ("" for nobody's), and the management state where one is named.
func (a adoption) merge(ctx context.Context, turn string, state v1alpha1.ManagementState) error {
	notes := map[string]any{v1alpha1.AdoptingAnnotation: nil, v1alpha1.AdoptingAcceptsAnnotation: nil}
	if turn != "" {
		notes[v1alpha1.AdoptingAnnotation] = turn
		if len(a.o.Accept) > 0 {
			notes[v1alpha1.AdoptingAcceptsAnnotation] = strings.Join(a.o.Accept, ",")
		}
	}
	patch := map[string]any{"metadata": map[string]any{"annotations": notes}}
	if state != "" {
		patch["spec"] = map[string]any{"managementState": state}
	}
	var err error
	// An API server that is gone for the seconds of a restart is no reason to give up.
	for range 15 {
		if err = a.api.Merge(ctx, clusterPath, patch, adoptOwner, nil); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("note the adoption in the EtcdCluster: %w", err)
		case <-time.After(a.again):
		}
	}
	return fmt.Errorf("note the adoption in the EtcdCluster: %w", err)
}
