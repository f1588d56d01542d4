package maintenance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/maintenance"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/report"
)

// Controller looks after the databases while this operator leads.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdclusters/status,verbs=patch,resourceNames=cluster
type Controller struct {
	*Mender
	Client client.Client
	Watch  *observe.Watch
	// HashAfter is how long after the start the members are first compared.
	HashAfter time.Duration

	started, hashTried time.Time
	differs            Compared
	hashed             bool // since the start
	warned             string

	report.Board
}

// Owner of the fields that it applies.
const Owner = "ceo-operator-maintenance"

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return apply.Singleton(mgr, "maintenance", c.Watch.Subscribe()).Complete(c)
}

// Reconcile implements reconcile.Reconciler. What fails is tried again with the next look.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	if !ok {
		return ctrl.Result{}, nil
	}
	if c.started.IsZero() {
		c.started = c.Now()
	}
	v := View(o, false)
	c.warn(o, v)
	acted, _ := c.step(ctx, o, false, func(a maintenance.Action) { //nolint:errcheck // logged, counted and told
		if a.Kind == maintenance.Defragment || a.Kind == maintenance.MoveLeader {
			c.say(o, &report.Note{Reason: v1alpha1.ReasonDefragmenting, Message: a.Reason})
		}
	})
	if !acted && c.due(o, v) {
		c.compare(ctx, o)
	}
	c.say(o, nil)
	return ctrl.Result{}, nil
}

func (c *Controller) say(o observe.Observation, progress *report.Note) {
	r := report.Report{Progressing: progress}
	if o.Cluster != nil {
		r.Generation = o.Cluster.Generation
	}
	if c.differs.Outcome == Differs {
		r.Degraded = []report.Note{{Reason: v1alpha1.ReasonHashMismatch, Message: c.differs.Reason}}
	}
	c.Say(r)
}

// warn makes an event when a database comes near its quota. The condition is the status controller's.
func (c *Controller) warn(o observe.Observation, v maintenance.View) {
	var who []string
	for _, m := range v.Members {
		if m.Answers && m.Quota > 0 && m.DBSize >= m.Quota/10*8 {
			who = append(who, v.Cluster.Label(m.ID))
		}
	}
	now := strings.Join(who, ", ")
	if texts := maintenance.Warnings(v); now != c.warned && len(texts) > 0 && o.Cluster != nil {
		c.Events.Eventf(o.Cluster, nil, corev1.EventTypeWarning, v1alpha1.ReasonQuotaNearlyUsed, "Observe", "%s", clip(strings.Join(texts, "; ")))
	}
	c.warned = now
}

// due: on a schedule, and only with all healthy and nothing under way, so that a difference is one.
func (c *Controller) due(o observe.Observation, v maintenance.View) bool {
	if o.Cluster == nil || len(v.Alarms) > 0 || !v.Cluster.Pause.MayAct().OK {
		return false
	}
	all, healthy := v.Cluster.Voters()
	if _, learner := v.Cluster.Learner(); learner || healthy < all || all < 2 {
		return false
	}
	s := Schedule{Started: c.started, After: c.HashAfter, Tried: c.hashTried, Interval: o.Cluster.Spec.HashCheckInterval.Duration}
	if t := o.Cluster.Status.LastHashCheck; t != nil {
		s.Good = t.Time
	}
	d := meta.FindStatusCondition(o.Cluster.Status.Conditions, v1alpha1.ConditionDegraded)
	s.Doubt = c.differs.Outcome == Differs || !c.hashed && d != nil && d.Reason == v1alpha1.ReasonHashMismatch
	return s.Due(c.Now())
}

// compare has the hashes made side by side. A difference counts once a second look, at another moment, confirms it.
func (c *Controller) compare(ctx context.Context, o observe.Observation) {
	c.hashTried = c.Now()
	got := Compare(c.hashes(ctx, o))
	if got.Outcome == Differs {
		got = Compare(c.hashes(ctx, o))
	}
	c.Log.Info("the members' data was compared", "outcome", got.Outcome, "reason", got.Reason)
	if got.Outcome == Unknown {
		return
	}
	before := c.differs.Outcome
	c.differs, c.hashed = got, true
	hashChecked.Set(float64(c.Now().Unix()))
	if got.Outcome == Differs {
		hashDiffers.Set(1)
		if before != Differs {
			c.Events.Eventf(o.Cluster, nil, corev1.EventTypeWarning, v1alpha1.ReasonHashMismatch, "Compare", "%s", clip(got.Reason))
		}
		return
	}
	hashDiffers.Set(0)
	if err := c.write(ctx); err != nil {
		c.Log.Warn("note that the members' data was compared", "error", err)
	}
}

const hashCallLimit = 2 * time.Minute

// hashes asks every voter for the hash at one revision that all have applied.
func (c *Controller) hashes(ctx context.Context, o observe.Observation) []Hash {
	ms := o.Membership()
	var out []Hash
	var addresses []string
	revision := int64(0)
	for _, x := range ms.Members {
		if x.Learner || x.Health != etcd.Healthy || x.Etcd == nil {
			continue
		}
		host, err := address(o, x.ID)
		h := Hash{Member: x.Name}
		if err != nil {
			h.Err = err.Error()
		}
		out, addresses = append(out, h), append(addresses, host)
	}
	if len(out) == 0 {
		return nil
	}
	// The first says how far it is, and the others are asked for the same, within which time they have applied it.
	out[0] = c.hash(ctx, out[0], addresses[0], 0)
	revision = out[0].Revision
	var wg sync.WaitGroup
	for i := range out {
		if i > 0 && out[i].Err == "" && out[0].Err == "" {
			wg.Go(func() { out[i] = c.hash(ctx, out[i], addresses[i], revision) })
		}
	}
	wg.Wait()
	return out
}

func (c *Controller) hash(ctx context.Context, h Hash, host string, revision int64) Hash {
	err := c.call(ctx, host, hashCallLimit, func(ctx context.Context, a agentpb.AgentClient) error {
		r, err := a.HashStore(ctx, &agentpb.HashStoreRequest{Revision: revision})
		h.Revision, h.CompactRevision, h.Hash = r.GetRevision(), r.GetCompactRevision(), r.GetHash()
		return err
	})
	if err != nil {
		h.Err = observe.Reason(err)
	}
	return h
}

// write notes when all were the same. It applies that one field: an EtcdClusterStatus would bring others' along.
func (c *Controller) write(ctx context.Context) error {
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": v1alpha1.ClusterName},
		"status":   map[string]any{"lastHashCheck": metav1.NewTime(c.Now()).UTC().Format(time.RFC3339)},
	}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("EtcdCluster"))
	if err := c.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(Owner), client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status of EtcdCluster %s: %w", v1alpha1.ClusterName, err)
	}
	return nil
}
