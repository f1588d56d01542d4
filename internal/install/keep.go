package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/kubeapi"
)

// Says is what the API says of the adoption of this cluster.
type Says struct {
	// Err: it could not be asked.
	Err error
	// Exists: there is an EtcdCluster.
	Exists bool
	// Managed by the operator.
	Managed bool
	// Adopting is the node whose turn it is, and Accepts the risks that were accepted for it.
	Adopting string
	Accepts  []string
}

// Leave is what may be done on this node, with the reason.
type Leave struct {
	// Restart: etcd may be restarted, under the lock and by the rules of an installation.
	Restart        bool
	AcceptDowntime bool
	// Settle is for how long the need of a restart must have stood before it is done.
	Settle time.Duration
	Why    string
}

// settle is longer than kubeadm takes between etcd's new manifest and the end of its upgrade of a node: a restart in the
// middle of that would make it roll back.
const settle = 5 * time.Minute

// DecideKeep says what the installer may do on a node by itself. Certificates and the agent disturb nobody; a restart of
// etcd needs a person's word: the adoption.
func DecideKeep(node string, s Says) Leave {
	switch {
	case s.Err != nil:
		// Unknown is no leave (I23).
		return Leave{Why: fmt.Sprintf("the API does not say whether this cluster was adopted, so etcd is left alone: %v", s.Err)}
	case !s.Exists:
		return Leave{Why: "this cluster was not adopted: the agent is kept, etcd is left alone; `ceo adopt` changes that"}
	case s.Adopting == node:
		return Leave{Restart: true, AcceptDowntime: slices.Contains(s.Accepts, RiskDowntime), Why: "this node is being adopted"}
	case s.Adopting != "":
		return Leave{Why: fmt.Sprintf("node %s is being adopted, and one node goes at a time", s.Adopting)}
	case !s.Managed:
		return Leave{Why: "the EtcdCluster is Unmanaged: the agent is kept, etcd is left alone"}
	}
	return Leave{Restart: true, Settle: settle, Why: "the EtcdCluster is Managed"}
}

// Keeper keeps ceo on a node: what the chart's DaemonSet runs.
type Keeper struct {
	Node    string
	Options Options
	// Ask reads what the API says.
	Ask func(context.Context) Says
	// Full and Agent are Install and InstallAgent.
	Full, Agent func(context.Context, Options) (Plan, error)
	// Join is Joined: a node of a managed cluster that has no etcd yet gets it.
	Join     func(ctx context.Context, o Options, node string) (bool, error)
	Interval time.Duration
	Log      *slog.Logger
	// Now is the clock.
	Now func() time.Time

	said string
	// due is since when a restart is needed; zero while none is.
	due time.Time
	// settled: a run that changed nothing more has gone to its end since this program started, or since the last error.
	settled, settledFull bool
}

// maxPause is the longest pause between two tries that failed.
const maxPause = 10 * time.Minute

// Run looks and acts until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	pause := k.Interval
	for {
		if err := k.once(ctx); err != nil {
			k.say("waits", err.Error())
			k.settled, k.settledFull = false, false
			pause = nextPause(pause, k.Interval)
		} else {
			pause = k.Interval
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func nextPause(last, interval time.Duration) time.Duration {
	return max(interval, min(2*last, maxPause))
}

// once looks, and acts only where something is to be done: a run at rest would write to etcd at each round.
func (k *Keeper) once(ctx context.Context) error {
	leave := DecideKeep(k.Node, k.Ask(ctx))
	do, settled := k.Agent, &k.settled
	if leave.Restart {
		do, settled = k.Full, &k.settledFull
	}
	o := k.Options
	o.AcceptDowntime = leave.AcceptDowntime
	if leave.Restart && k.Join != nil {
		switch joined, err := k.Join(ctx, o, k.Node); {
		case err != nil:
			return err
		case joined:
			k.say("waits", "etcd's files were written: its guard waits until the operator adds this node")
			return nil
		}
	}
	look := o
	look.DryRun = true
	plan, err := do(ctx, look)
	if err != nil && ctx.Err() == nil && leave.Restart {
		// What keeps etcd from being restarted must not keep the agent from being mended: it is what helps.
		if agentErr := k.agentAlone(ctx, o); agentErr != nil {
			return errors.Join(err, agentErr)
		}
		return err
	}
	if err != nil {
		return err
	}
	if k.tooEarly(plan, leave) {
		k.say("waits", fmt.Sprintf("etcd is to be restarted; that begins when nothing has changed for %s, as kubeadm may still be at work on this node", leave.Settle))
		return k.agentAlone(ctx, o)
	}
	if len(plan.Steps) == 0 && *settled {
		k.say("in order", leave.Why)
		return nil
	}
	k.say("acts", leave.Why)
	if _, err := do(ctx, o); err != nil {
		return err
	}
	*settled = true
	k.say("in order", leave.Why)
	return nil
}

// tooEarly says whether a restart that is needed has to wait.
func (k *Keeper) tooEarly(plan Plan, leave Leave) bool {
	if !plan.Restarts() {
		k.due = time.Time{}
		return false
	}
	if k.due.IsZero() {
		k.due = k.Now()
	}
	return k.Now().Sub(k.due) < leave.Settle
}

func (k *Keeper) agentAlone(ctx context.Context, o Options) error {
	look := o
	look.DryRun = true
	plan, err := k.Agent(ctx, look)
	if err != nil || len(plan.Steps) == 0 {
		return err
	}
	_, err = k.Agent(ctx, o)
	return err
}

// say logs what changed.
func (k *Keeper) say(state, why string) {
	if s := state + why; s != k.said {
		k.said = s
		k.Log.Info(state, "node", k.Node, "why", why)
	}
}

// AskAPI reads the EtcdCluster.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdclusters,verbs=get,resourceNames=cluster
func AskAPI(c *kubeapi.Client) func(context.Context) Says {
	return func(ctx context.Context) Says {
		var o v1alpha1.EtcdCluster
		err := c.Get(ctx, "/apis/clusteretcd.io/v1alpha1/etcdclusters/"+v1alpha1.ClusterName, &o)
		if errors.Is(err, kubeapi.ErrNotFound) {
			return Says{}
		}
		if err != nil {
			return Says{Err: err}
		}
		s := Says{
			Exists: true, Managed: o.Spec.ManagementState == v1alpha1.Managed,
			Adopting: o.Annotations[v1alpha1.AdoptingAnnotation],
		}
		if a := o.Annotations[v1alpha1.AdoptingAcceptsAnnotation]; a != "" {
			s.Accepts = strings.Split(a, ",")
		}
		return s
	}
}
