package status

import (
	"context"
	"fmt"
	"log/slog"

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
	"clusteretcd.io/ceo/internal/operator/report"
)

// Controller writes the status of the one EtcdCluster, where there is one. It does not make it: what there is without
// one is nobody's wish.
//
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdclusters,verbs=get;list;watch,resourceNames=cluster
// +kubebuilder:rbac:groups=clusteretcd.io,resources=etcdclusters/status,verbs=patch,resourceNames=cluster
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
type Controller struct {
	Client client.Client
	Watch  *observe.Watch
	Events events.EventRecorder
	Log    *slog.Logger
	// Reporters are the controllers that have a say in the conditions.
	Reporters []report.Reporter
}

// Owner of the fields that it applies.
const Owner = "ceo-operator-status"

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return apply.Singleton(mgr, "status", c.Watch.Subscribe(), &v1alpha1.EtcdCluster{}).Complete(c)
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	if !ok {
		return ctrl.Result{}, nil
	}
	cluster := &v1alpha1.EtcdCluster{}
	if err := c.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.ClusterName}, cluster); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	// The spec may be newer than the look.
	o.Cluster = cluster
	var reports []report.Report
	for _, r := range c.Reporters {
		reports = append(reports, r.Report())
	}
	want := Decide(o, cluster.Status, reports...)
	measure(want)
	if Same(want, cluster.Status) {
		return ctrl.Result{}, nil
	}
	u, err := apply.Status(&v1alpha1.EtcdCluster{ObjectMeta: metav1.ObjectMeta{Name: cluster.Name}, Status: want}, v1alpha1.GroupVersion.WithKind("EtcdCluster"))
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := c.Client.Status().Apply(ctx, u, client.FieldOwner(Owner), client.ForceOwnership); err != nil {
		return ctrl.Result{}, fmt.Errorf("write the status of EtcdCluster %s: %w", cluster.Name, err)
	}
	c.tell(cluster, want)
	return ctrl.Result{}, nil
}

// Same compares what this controller owns, as people see it: the fields of other controllers do not count.
func Same(a, b v1alpha1.EtcdClusterStatus) bool { return equality.Semantic.DeepEqual(own(a), own(b)) }

func own(s v1alpha1.EtcdClusterStatus) v1alpha1.EtcdClusterStatus {
	s = *s.DeepCopy()
	s.LastHashCheck = nil
	conditions := s.Conditions
	s.Conditions = nil
	for _, t := range []string{
		v1alpha1.ConditionAvailable, v1alpha1.ConditionProgressing, v1alpha1.ConditionDegraded,
		v1alpha1.ConditionQuorumSafe, v1alpha1.ConditionBackupsProven, v1alpha1.ConditionUpgradeable,
	} {
		if c := meta.FindStatusCondition(conditions, t); c != nil {
			k := *c
			k.LastTransitionTime = metav1.Time{} // it follows from the rest
			s.Conditions = append(s.Conditions, k)
		}
	}
	return s
}

// bad is what each condition says when something is wrong.
var bad = map[string]metav1.ConditionStatus{
	v1alpha1.ConditionAvailable: metav1.ConditionFalse, v1alpha1.ConditionQuorumSafe: metav1.ConditionFalse,
	v1alpha1.ConditionDegraded: metav1.ConditionTrue, v1alpha1.ConditionBackupsProven: metav1.ConditionFalse,
}

// tell makes an event of each condition that has changed, and of nothing else. What it was before is read from the API,
// so that an operator that starts anew does not say everything again.
func (c *Controller) tell(cluster *v1alpha1.EtcdCluster, want v1alpha1.EtcdClusterStatus) {
	for _, n := range want.Conditions {
		old := meta.FindStatusCondition(cluster.Status.Conditions, n.Type)
		if old != nil && old.Status == n.Status && old.Reason == n.Reason {
			continue
		}
		kind := corev1.EventTypeNormal
		if bad[n.Type] == n.Status {
			kind = corev1.EventTypeWarning
		}
		c.Log.Info("condition", "type", n.Type, "status", n.Status, "reason", n.Reason, "message", n.Message)
		c.Events.Eventf(cluster, nil, kind, n.Reason, "Observe", "%s is %s: %s", n.Type, n.Status, n.Message)
	}
}
