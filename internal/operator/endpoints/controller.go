package endpoints

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"clusteretcd.io/ceo/internal/operator/apply"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// Controller publishes the endpoints where there is an EtcdCluster.
//
// +kubebuilder:rbac:groups="",resources=configmaps,namespace=kube-system,verbs=get;list;watch;patch,resourceNames=etcd-endpoints
// +kubebuilder:rbac:groups="",resources=services,namespace=kube-system,verbs=get;list;watch;patch,resourceNames=host-etcd
// +kubebuilder:rbac:groups="",resources=configmaps;services,namespace=kube-system,verbs=create
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,namespace=kube-system,verbs=list;watch;create
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,namespace=kube-system,verbs=get;patch,resourceNames=host-etcd-ipv4;host-etcd-ipv6
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices/restricted,namespace=kube-system,verbs=create
type Controller struct {
	Client client.Client
	Watch  *observe.Watch
	Events events.EventRecorder
	Log    *slog.Logger

	kept string // the reason that was told last
}

// Owner of the fields that it applies.
const Owner = "ceo-operator-endpoints"

// Register adds it to the manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	return apply.Singleton(mgr, "endpoints", c.Watch.Subscribe(), &corev1.ConfigMap{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}).Complete(c)
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	o, ok := c.Watch.Latest()
	if !ok || o.Cluster == nil {
		return ctrl.Result{}, nil
	}
	have := &corev1.ConfigMap{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: ConfigMapName}, have); err != nil && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("read what is published: %w", err)
	}
	d := Decide(o.Membership(), o.StandBack(), published(have))
	c.tell(o, d, len(published(have)) > 0)
	if d.Keep {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, c.publish(ctx, have, d)
}

// tell says once why the endpoints are not simply the healthy voters.
func (c *Controller) tell(o observe.Observation, d Decision, any bool) {
	if d.Reason == c.kept {
		return
	}
	c.kept = d.Reason
	if d.Reason == "" || !any {
		return
	}
	c.Log.Info("endpoints stay as they are", "reason", d.Reason)
	c.Events.Eventf(o.Cluster, nil, corev1.EventTypeNormal, "EndpointsKept", "Publish", "The published endpoints stay: %s", d.Reason)
}

// publish writes what differs. One object that is refused does not keep the others from being written.
func (c *Controller) publish(ctx context.Context, have *corev1.ConfigMap, d Decision) error {
	var errs []error
	if want := configMap(d); !equality.Semantic.DeepEqual(want.Data, have.Data) {
		errs = append(errs, c.apply(ctx, want, corev1.SchemeGroupVersion.WithKind("ConfigMap")))
	}
	for _, want := range slices4and6(d) {
		errs = append(errs, c.publishSlice(ctx, want))
	}
	s := &corev1.Service{}
	switch err := c.Client.Get(ctx, client.ObjectKeyFromObject(service()), s); {
	case err != nil && !apierrors.IsNotFound(err):
		errs = append(errs, fmt.Errorf("read Service %s: %w", ServiceName, err))
	case err != nil || s.Spec.ClusterIP != corev1.ClusterIPNone || len(s.Spec.Selector) > 0 || !hasPort(s):
		errs = append(errs, c.apply(ctx, service(), corev1.SchemeGroupVersion.WithKind("Service")))
	}
	return errors.Join(errs...)
}

func hasPort(s *corev1.Service) bool {
	return len(s.Spec.Ports) == 1 && s.Spec.Ports[0].Name == portName && s.Spec.Ports[0].Port == defaultPort
}

func (c *Controller) publishSlice(ctx context.Context, want *discoveryv1.EndpointSlice) error {
	have := &discoveryv1.EndpointSlice{}
	err := c.Client.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return fmt.Errorf("read EndpointSlice %s: %w", want.Name, err)
	case err != nil && len(want.Endpoints) == 0:
		return nil // a cluster without addresses of this kind has no slice of it
	case err == nil && equality.Semantic.DeepEqual(shown(have), shown(want)):
		return nil
	}
	return c.apply(ctx, want, discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"))
}

// shown is what this controller says in a slice; the API server fills in more.
func shown(s *discoveryv1.EndpointSlice) []string {
	var out []string
	for _, p := range s.Ports {
		out = append(out, fmt.Sprint(deref(p.Name), deref(p.Port), deref(p.Protocol)))
	}
	for _, e := range s.Endpoints {
		ready := "unknown"
		if e.Conditions.Ready != nil {
			ready = fmt.Sprint(*e.Conditions.Ready)
		}
		out = append(out, fmt.Sprint(e.Addresses, ready, deref(e.NodeName)))
	}
	return out
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func (c *Controller) apply(ctx context.Context, o client.Object, kind schema.GroupVersionKind) error {
	u, err := apply.Object(o, kind)
	if err != nil {
		return err
	}
	if err := c.Client.Apply(ctx, u, client.FieldOwner(Owner), client.ForceOwnership); err != nil {
		return fmt.Errorf("publish %s %s: %w", kind.Kind, o.GetName(), err)
	}
	return nil
}
