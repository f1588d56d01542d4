package rollbacks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/recoveries"
)

// Controller carries out EtcdRecoveries of type Rollback.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdrecoveries,verbs=get;list;watch
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdrecoveries/status,verbs=patch
type Controller struct {
	Client client.Client
	// Live reads past the cache: a consent that is used up must be seen.
	Live   client.Reader
	Watch  *observe.Watch
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger
	Now    func() time.Time

	// asked is when the plan of an object without a consent was last made.
	asked map[string]time.Time
}

// Owner of the fields that it applies.
const Owner = "ceo-operator-rollbacks"

const (
	// again is how often something that is waited for is looked at; fresh, how often a plan is made anew that nobody has
	// consented to yet.
	again = 5 * time.Second
	fresh = time.Minute
	// planLimit bounds the making of a plan, with the catalogue that it needs; startLimit, the start.
	planLimit  = 45 * time.Second
	startLimit = time.Minute
)

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	c.asked = map[string]time.Time{}
	return ctrl.NewControllerManagedBy(mgr).Named("rollbacks").For(&v1alpha1.EtcdRecovery{}).Complete(c)
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	r := &v1alpha1.EtcdRecovery{}
	if err := c.Live.Get(ctx, req.NamespacedName, r); err != nil {
		delete(c.asked, req.Name)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if r.Spec.Type != v1alpha1.RecoveryRollback || over(*r) || r.DeletionTimestamp != nil {
		delete(c.asked, req.Name)
		return ctrl.Result{}, nil
	}
	o, ok := c.Watch.Latest()
	if !ok {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	f, at, err := c.gather(ctx, *r, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	a := Decide(f)
	if a.Kind == Ask {
		if c.stillFresh(f) {
			return ctrl.Result{RequeueAfter: again}, nil
		}
		c.ask(ctx, &f, at)
		c.asked[req.Name] = c.Now()
		a = Decide(f)
	}
	switch a.Kind {
	case Start:
		return c.start(ctx, r, f, at, a)
	case Show:
		if err := c.write(ctx, r, a.Status); err != nil {
			return ctrl.Result{}, err
		}
	case Nothing, Ask:
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// stillFresh: the plan that is shown is of this minute and of the cluster that lives, and nobody has consented to it.
func (c *Controller) stillFresh(f Facts) bool {
	p := f.Recovery.Status.Plan
	age := c.Now().Sub(c.asked[f.Recovery.Name])
	return f.Recovery.Spec.Rollback.Consent == nil && p != nil && p.ClusterID == f.ClusterID && age >= 0 && age < fresh
}

// gather is what is known without asking anybody; at is the address of the node that would run it.
func (c *Controller) gather(ctx context.Context, r v1alpha1.EtcdRecovery, o observe.Observation) (Facts, string, error) {
	m := o.Membership()
	f := Facts{Recovery: r, Pause: o.Pause(), Node: r.Spec.Rollback.Node}
	f.Open, f.OpenOn = o.OpenRecovery()
	if m.Serves && m.Conflict == "" {
		f.ClusterID = m.ClusterID
	}
	if id := r.Status.RecoveryID; id != "" {
		rec := &v1alpha1.EtcdRecovery{}
		switch err := c.Live.Get(ctx, client.ObjectKey{Name: recoveries.Name(id)}, rec); {
		case err == nil:
			f.Record = rec
		case !apierrors.IsNotFound(err):
			return f, "", fmt.Errorf("read the record of recovery %s: %w", id, err)
		}
	}
	if f.Node == "" {
		for _, x := range m.Members {
			if x.ID == m.Leader && m.Leader != 0 {
				f.Node = x.Node
			}
		}
	}
	n, ok := o.Node(f.Node)
	if s := r.Status.StartTime; s != nil {
		f.Since = o.At.Sub(s.Time)
		n, ok = o.Node(r.Status.Coordinator)
	}
	switch {
	case f.Node == "":
		f.Unknown = "no leader is known, and spec.rollback.node is not set"
	case !ok:
		f.Unknown = "there is no control-plane node " + f.Node
	case n.State == nil:
		f.Unknown = "the agent of " + n.Name + " does not answer: " + n.Err
	}
	return f, n.Address, nil
}

// ask has the plan made, which changes nothing.
func (c *Controller) ask(ctx context.Context, f *Facts, at string) {
	ctx, cancel := context.WithTimeout(ctx, planLimit)
	defer cancel()
	id := f.Recovery.Spec.Rollback.Backup
	l, err := observe.Catalogue(ctx, c.Agents, at)
	if err != nil {
		f.Unknown = "the catalogue of " + f.Node + ": " + observe.Reason(err)
		return
	}
	for _, e := range l.Entries {
		if e.ID == id {
			f.Backup = observe.Reference(e)
		}
	}
	if f.Backup == nil {
		f.Unknown = fmt.Sprintf("there is no backup %s in %s: see `ceo backup list`", id, l.Store)
		return
	}
	agent, err := c.Agents.Agent(at)
	if err == nil {
		f.Plan, err = agent.PlanRecovery(ctx, what(id))
	}
	if err != nil {
		f.Unknown = "the agent of " + f.Node + ": " + observe.Reason(err)
	}
}

// what is restored: the same request for the plan and for the run.
func what(id string) *agentpb.PlanRecoveryRequest {
	return &agentpb.PlanRecoveryRequest{Snapshot: "backup:" + id, SourceLabel: id}
}

// start uses the consent up, and begins then: an operator that dies in between begins nothing twice.
func (c *Controller) start(ctx context.Context, r *v1alpha1.EtcdRecovery, f Facts, at string, a Action) (ctrl.Result, error) {
	now := metav1.NewTime(c.Now()).Rfc3339Copy()
	a.Status.StartTime = &now
	if err := c.write(ctx, r, a.Status); err != nil {
		return ctrl.Result{}, err
	}
	c.Log.Warn("a roll-back begins", "recovery", r.Name, "node", f.Node, "backup", f.Backup.ID, "plan", f.Plan.GetId())
	c.Events.Eventf(r, nil, corev1.EventTypeWarning, "RollbackBegins", "Rollback", "%s is told to take the cluster back to backup %s", f.Node, f.Backup.ID)
	var risks []string
	for _, k := range r.Spec.Rollback.Consent.AcceptRisks {
		risks = append(risks, string(k))
	}
	run, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	agent, err := c.Agents.Agent(at)
	var got *agentpb.Recovery
	if err == nil {
		got, err = agent.RunRecovery(run, &agentpb.RunRecoveryRequest{
			What: what(r.Spec.Rollback.Backup), PlanId: f.Plan.GetId(), ConfirmCluster: f.Plan.GetClusterName(), AcceptRisks: risks,
		})
	}
	f.Recovery.Status = a.Status
	switch {
	case err == nil:
		f.Open, f.OpenOn = got, f.Node
		a = started(f)
	case refused(err):
		a = end(f, v1alpha1.ReasonFailed, "nothing was changed: "+observe.Reason(err))
	default:
		c.Log.Warn("whether the roll-back has begun is not known", "recovery", r.Name, "error", err)
		return ctrl.Result{RequeueAfter: again}, nil
	}
	// From here on the API server may be on its way out: what is not written is looked up by whoever comes next.
	if err := c.apply(ctx, r.Name, a.Status, ""); err != nil {
		c.Log.Warn("the status of a roll-back was not written", "recovery", r.Name, "error", err)
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// refused: the agent has answered with what it only says before it begins. Anything else says nothing (I23).
func refused(err error) bool {
	switch status.Code(err) { //nolint:exhaustive // as said above
	case codes.FailedPrecondition, codes.InvalidArgument, codes.Aborted, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return true
	}
	return false
}

func (c *Controller) write(ctx context.Context, r *v1alpha1.EtcdRecovery, st v1alpha1.EtcdRecoveryStatus) error {
	if equality.Semantic.DeepEqual(r.Status, st) {
		return nil
	}
	err := c.apply(ctx, r.Name, st, r.ResourceVersion)
	if apierrors.IsConflict(err) {
		return errors.New("it was changed meanwhile: it is read again")
	}
	return err
}

func (c *Controller) apply(ctx context.Context, name string, st v1alpha1.EtcdRecoveryStatus, version string) error {
	want := &v1alpha1.EtcdRecovery{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: st}
	kind := v1alpha1.GroupVersion.WithKind("EtcdRecovery")
	u, err := apply.Status(want, kind)
	if version != "" {
		u, err = apply.StatusAt(want, kind, version)
	}
	if err != nil {
		return err
	}
	if err := c.Client.Status().Apply(ctx, u, client.FieldOwner(Owner), client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status of EtcdRecovery %s: %w", name, err)
	}
	return nil
}
