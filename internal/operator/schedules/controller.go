package schedules

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Controller asks for the backups of schedules. It makes none itself: an EtcdBackup is the backups controller's.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdbackupschedules,verbs=get;list;watch
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdbackupschedules/status,verbs=patch
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdbackupschedules/finalizers,verbs=update
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdbackups,verbs=get;list;watch;create;delete
type Controller struct {
	Client client.Client
	// Live reads past the cache: what was claimed a moment ago must be seen before anything is begun.
	Live   client.Reader
	Watch  *observe.Watch
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger
	Now    func() time.Time

	// tried is when a retention was tried in vain. One worker reads and writes it.
	tried map[types.UID]time.Time
}

// Owner of the fields that it applies.
const Owner = "ceo-operator-schedules"

// glance is how often a schedule is looked at, whatever else happens.
const glance = time.Minute

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	c.tried = map[types.UID]time.Time{}
	return ctrl.NewControllerManagedBy(mgr).Named("schedules").For(&v1alpha1.EtcdBackupSchedule{}).Owns(&v1alpha1.EtcdBackup{}).
		WatchesRawSource(source.Channel(c.Watch.Subscribe(), handler.Funcs{
			GenericFunc: func(ctx context.Context, _ event.GenericEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
				var all v1alpha1.EtcdBackupScheduleList
				if err := c.Client.List(ctx, &all); err != nil {
					c.Log.Warn("list the schedules", "error", err)
				}
				for _, s := range all.Items {
					q.Add(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&s)})
				}
			},
		})).Complete(c)
}

// Reconcile implements reconcile.Reconciler. At rest it reads the cache alone; whatever is to be done is decided anew of
// what the API server itself says.
func (c *Controller) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	if !ok {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	in, found, err := c.gather(ctx, c.Client, r.Name, o)
	if err != nil || !found {
		if !found {
			forgetMetrics(r.Name)
		}
		return ctrl.Result{}, err
	}
	a, st := Decide(in)
	measure(r.Name, st)
	if a.Kind == Nothing && equality.Semantic.DeepEqual(st, in.Schedule.Status) {
		after := glance
		if n := st.NextTime; n != nil {
			after = min(after, max(n.Sub(in.Now), time.Second))
		}
		return ctrl.Result{RequeueAfter: after}, nil
	}
	if in, found, err = c.gather(ctx, c.Live, r.Name, o); err != nil || !found {
		return ctrl.Result{}, err
	}
	a, st = Decide(in)
	if err := c.do(ctx, in, a, &st); err != nil {
		return ctrl.Result{}, err
	}
	switch err := c.write(ctx, in.Schedule, st); {
	case apierrors.IsConflict(err):
		c.Log.Info("a schedule was changed meanwhile, and is decided on anew", "schedule", r.Name)
	case err != nil:
		return ctrl.Result{}, err
	case a.Kind == Nothing && equality.Semantic.DeepEqual(st, in.Schedule.Status):
		return ctrl.Result{RequeueAfter: time.Second}, nil // the cache is behind
	}
	return ctrl.Result{RequeueAfter: time.Millisecond}, nil // the next step
}

func (c *Controller) gather(ctx context.Context, from client.Reader, name string, o observe.Observation) (Input, bool, error) {
	in := Input{O: o}
	if err := from.Get(ctx, client.ObjectKey{Name: name}, &in.Schedule); err != nil {
		return in, !apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	var all v1alpha1.EtcdBackupScheduleList
	var bs v1alpha1.EtcdBackupList
	if err := from.List(ctx, &all); err != nil {
		return in, true, fmt.Errorf("list the schedules: %w", err)
	}
	if err := from.List(ctx, &bs); err != nil {
		return in, true, fmt.Errorf("list the EtcdBackups: %w", err)
	}
	in.All = all.Items
	for _, b := range bs.Items {
		if ours(b, in.Schedule) {
			in.Backups = append(in.Backups, b)
		}
	}
	in.Tried, in.Now = c.tried[in.Schedule.UID], c.Now()
	return in, true, nil
}

// do carries out an action, and takes what came of it over into the status.
func (c *Controller) do(ctx context.Context, in Input, a Action, st *v1alpha1.EtcdBackupScheduleStatus) error {
	switch a.Kind {
	case Create:
		return c.create(ctx, in.Schedule, a, st)
	case Prune:
		c.prune(ctx, in, a, st)
	case Forget:
		for _, b := range a.Old {
			err := c.Client.Delete(ctx, &b, client.Preconditions{UID: &b.UID})
			if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
				return fmt.Errorf("delete the old EtcdBackup %s (the object, not the backup): %w", b.Name, err)
			}
		}
	case Nothing:
	}
	return nil
}

// create creates the EtcdBackup that was claimed. One that is there by that name is this schedule's own, or somebody
// else's: then this time is over without a backup, and that is said.
func (c *Controller) create(ctx context.Context, s v1alpha1.EtcdBackupSchedule, a Action, st *v1alpha1.EtcdBackupScheduleStatus) error {
	b := &v1alpha1.EtcdBackup{
		ObjectMeta: metav1.ObjectMeta{
			Name: a.Name, Labels: map[string]string{v1alpha1.ScheduleLabel: label(s.Name)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&s, v1alpha1.GroupVersion.WithKind("EtcdBackupSchedule"))},
		},
		Spec: v1alpha1.EtcdBackupSpec{Prove: &a.Prove},
	}
	err := c.Client.Create(ctx, b, client.FieldOwner(Owner))
	if err == nil {
		c.Log.Info("backup asked for", "schedule", s.Name, "backup", b.Name, "prove", a.Prove)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create EtcdBackup %s: %w", a.Name, err)
	}
	if err := c.Live.Get(ctx, client.ObjectKey{Name: a.Name}, b); err != nil {
		return fmt.Errorf("read EtcdBackup %s, which is there already: %w", a.Name, err)
	}
	if ours(*b, s) {
		return nil // another operator, or this one before
	}
	st.Claimed = ""
	c.Log.Warn("the name of a backup is taken", "schedule", s.Name, "backup", a.Name)
	c.Events.Eventf(&s, nil, corev1.EventTypeWarning, v1alpha1.ReasonBackupMissed, "Schedule", "the EtcdBackup %s is there already and is not of this schedule: no backup is made for that time", a.Name)
	return nil
}

// write applies the status to what was read: whoever wrote in between makes it a conflict, and it is decided anew. It makes
// an event of each condition that has changed.
func (c *Controller) write(ctx context.Context, s v1alpha1.EtcdBackupSchedule, st v1alpha1.EtcdBackupScheduleStatus) error {
	if equality.Semantic.DeepEqual(st, s.Status) {
		return nil
	}
	u, err := apply.StatusAt(&v1alpha1.EtcdBackupSchedule{ObjectMeta: metav1.ObjectMeta{Name: s.Name}, Status: st}, v1alpha1.GroupVersion.WithKind("EtcdBackupSchedule"), s.ResourceVersion)
	if err != nil {
		return err
	}
	if err := c.Client.Status().Apply(ctx, u, client.FieldOwner(Owner), client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("write the status of EtcdBackupSchedule %s: %w", s.Name, err))
	}
	for _, n := range st.Conditions {
		old := meta.FindStatusCondition(s.Status.Conditions, n.Type)
		if n.Status == metav1.ConditionUnknown || old != nil && old.Status == n.Status && old.Reason == n.Reason {
			continue
		}
		kind := corev1.EventTypeNormal
		if n.Status == metav1.ConditionFalse && n.Reason != v1alpha1.ReasonNotRequested {
			kind = corev1.EventTypeWarning
		}
		c.Log.Info("condition", "schedule", s.Name, "type", n.Type, "status", n.Status, "reason", n.Reason, "message", n.Message)
		c.Events.Eventf(&s, nil, kind, n.Reason, "Schedule", "%s is %s: %s", n.Type, n.Status, n.Message)
	}
	return nil
}
