package backups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Controller makes backups, one at a time.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdbackups,verbs=get;list;watch
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdbackups/status,verbs=patch
type Controller struct {
	Client client.Client
	// Live reads past the cache: what was written a moment ago must be seen before a backup is begun.
	Live   client.Reader
	Watch  *observe.Watch
	Agents observe.Agents
	Events events.EventRecorder
	Log    *slog.Logger
	Now    func() time.Time
}

// Owner of the fields that it applies.
const Owner = "ceo-operator-backups"

// again is how often something that is waited for is looked at.
const again = 5 * time.Second

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("backups").For(&v1alpha1.EtcdBackup{}).Complete(c)
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	b := &v1alpha1.EtcdBackup{}
	if err := c.Live.Get(ctx, r.NamespacedName, b); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	o, ok := c.Watch.Latest()
	if !ok {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	if b.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	want := b.DeepCopy()
	a := Decide(*b, o)
	switch a.Kind {
	case Nothing:
		return ctrl.Result{}, nil
	case Wait:
		c.wait(want, a.Reason, o)
	case Claim:
		if err := c.claim(ctx, want, a); err != nil {
			c.wait(want, observe.Reason(err), o)
		}
	case Make:
		if err := c.make(ctx, want, a.Node); err != nil {
			return c.failed(ctx, b, want, v1alpha1.ConditionSucceeded, v1alpha1.ReasonBackupFailed, err)
		}
	case Prove:
		if err := c.prove(ctx, want, a.Node); err != nil {
			return c.failed(ctx, b, want, v1alpha1.ConditionProven, v1alpha1.ReasonProofFailed, err)
		}
	case Skip:
		c.set(want, v1alpha1.ConditionProven, metav1.ConditionFalse, v1alpha1.ReasonNotRequested, a.Reason)
	case Fail:
		c.end(want, v1alpha1.ConditionSucceeded, v1alpha1.ReasonBackupFailed, a.Reason)
	}
	if err := c.write(ctx, b, want); err != nil {
		return ctrl.Result{}, err
	}
	if a.Kind == Wait || a.Kind == Claim && want.Status.StartTime == nil {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	return ctrl.Result{RequeueAfter: time.Millisecond}, nil // the next step
}

// wait says for what it waits. A recovery has its own reason (P17).
func (c *Controller) wait(b *v1alpha1.EtcdBackup, why string, o observe.Observation) {
	reason := v1alpha1.ReasonWaiting
	if o.StandBack() != "" {
		reason = v1alpha1.ReasonRecoveryOpen
	}
	t := v1alpha1.ConditionSucceeded
	if meta.IsStatusConditionTrue(b.Status.Conditions, t) {
		t = v1alpha1.ConditionProven
	}
	c.set(b, t, metav1.ConditionUnknown, reason, why)
}

// failed tells a backup that failed from one that nobody knows of: the agent, or the way to it, was lost on the way.
func (c *Controller) failed(ctx context.Context, b, want *v1alpha1.EtcdBackup, condition, reason string, err error) (ctrl.Result, error) {
	if ctx.Err() != nil {
		return ctrl.Result{}, nil //nolint:nilerr // this operator ends; the next one goes on
	}
	var lost *lostError
	if errors.As(err, &lost) {
		c.Log.Warn("what came of a backup is not known yet", "backup", b.Name, "error", err)
		c.set(want, condition, metav1.ConditionUnknown, v1alpha1.ReasonWaiting, observe.Reason(lost.err)+"; what came of it is looked up")
		return ctrl.Result{RequeueAfter: again}, c.write(ctx, b, want)
	}
	c.end(want, condition, reason, observe.Reason(err))
	return ctrl.Result{}, c.write(ctx, b, want)
}

func (c *Controller) end(b *v1alpha1.EtcdBackup, condition, reason, message string) {
	now := metav1.NewTime(c.Now()).Rfc3339Copy()
	b.Status.CompletionTime = &now
	c.set(b, condition, metav1.ConditionFalse, reason, message)
}

func (c *Controller) set(b *v1alpha1.EtcdBackup, condition string, status metav1.ConditionStatus, reason, message string) {
	b.Status.ObservedGeneration = b.Generation
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	meta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: message, ObservedGeneration: b.Generation,
	})
}

const maxMessage = 4096

// write applies the status where it has changed, and makes an event of each condition that has ended.
func (c *Controller) write(ctx context.Context, b, want *v1alpha1.EtcdBackup) error {
	if equality.Semantic.DeepEqual(b.Status, want.Status) {
		return nil
	}
	u, err := apply.Status(&v1alpha1.EtcdBackup{ObjectMeta: metav1.ObjectMeta{Name: b.Name}, Status: want.Status}, v1alpha1.GroupVersion.WithKind("EtcdBackup"))
	if err != nil {
		return err
	}
	if err := c.Client.Status().Apply(ctx, u, client.FieldOwner(Owner), client.ForceOwnership); err != nil {
		// One that was deleted meanwhile is nobody's any more; its backup stays in the store.
		return client.IgnoreNotFound(fmt.Errorf("write the status of EtcdBackup %s: %w", b.Name, err))
	}
	for _, n := range want.Status.Conditions {
		old := meta.FindStatusCondition(b.Status.Conditions, n.Type)
		if n.Status == metav1.ConditionUnknown || n.Reason == v1alpha1.ReasonNotRequested || old != nil && old.Status == n.Status {
			continue
		}
		kind := corev1.EventTypeNormal
		if n.Status == metav1.ConditionFalse {
			kind = corev1.EventTypeWarning
		}
		ended.WithLabelValues(n.Type, string(n.Status)).Inc()
		c.Log.Info("backup", "name", b.Name, "condition", n.Type, "status", n.Status, "message", n.Message)
		c.Events.Eventf(b, nil, kind, n.Reason, "Backup", "%s", n.Message)
	}
	return nil
}
