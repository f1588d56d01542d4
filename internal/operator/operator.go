// Package operator runs the controllers. It is the only part of the product that knows an API client; what it wants done
// on a node, it asks that node's agent for.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"clusteretcd.io/ceo/api/v1alpha1"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/kubeapi"
	"clusteretcd.io/ceo/internal/operator/backups"
	"clusteretcd.io/ceo/internal/operator/endpoints"
	"clusteretcd.io/ceo/internal/operator/maintenance"
	"clusteretcd.io/ceo/internal/operator/members"
	"clusteretcd.io/ceo/internal/operator/observe"
	"clusteretcd.io/ceo/internal/operator/recoveries"
	"clusteretcd.io/ceo/internal/operator/report"
	"clusteretcd.io/ceo/internal/operator/rollbacks"
	"clusteretcd.io/ceo/internal/operator/rollouts"
	"clusteretcd.io/ceo/internal/operator/schedules"
	"clusteretcd.io/ceo/internal/operator/settings"
	"clusteretcd.io/ceo/internal/operator/status"
	"clusteretcd.io/ceo/internal/operator/tls"
	"clusteretcd.io/ceo/internal/pki"
)

// Names in kube-system.
const (
	Namespace = "kube-system"
	LeaseName = "ceo-operator"
)

// Options of an operator.
type Options struct {
	// Config is how the API server is reached; nil reads Kubeconfig, or what the Pod has where that is empty.
	Config     *rest.Config
	Kubeconfig string
	// APIServer replaces the address in it, e.g. https://10.0.0.11:6443: the apiserver of the operator's own node. A
	// Service's IP needs a kube-proxy, which needs an API server.
	APIServer string
	// Certs is a folder with operator.crt, operator.key and ca.crt (etcd's CA).
	Certs string
	// Addresses to serve on; "0" serves nothing.
	MetricsAddress, HealthAddress string
	Log                           *slog.Logger

	// What tests shorten.
	Every, CataloguesEvery, Grace, InspectLimit, RolloutBound time.Duration
	UnledEvery, UnledAfter, HashAfter                         time.Duration
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		p *time.Duration
		d time.Duration
	}{
		{&o.Every, observe.Every},
		{&o.CataloguesEvery, observe.CataloguesEvery},
		{&o.Grace, observe.Grace},
		{&o.InspectLimit, observe.InspectLimit},
		{&o.UnledEvery, maintenance.UnledEvery},
		{&o.UnledAfter, maintenance.UnledAfter},
		{&o.HashAfter, maintenance.HashAfter},
	} {
		if *d.p == 0 {
			*d.p = d.d
		}
	}
	return o
}

// Files of the operator's certificate.
func (o Options) Files() pki.Files {
	return pki.Files{
		Cert: filepath.Join(o.Certs, "operator.crt"), Key: filepath.Join(o.Certs, "operator.key"), CA: filepath.Join(o.Certs, "ca.crt"),
	}
}

// requestLimit bounds each request to the API server, so that one that hangs is an error and not a standstill.
const requestLimit = 15 * time.Second

func (o Options) config() (*rest.Config, error) {
	c := o.Config
	if c == nil {
		var err error
		if o.Kubeconfig != "" {
			c, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
		} else {
			c, err = rest.InClusterConfig()
		}
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("no API server is named, and this is no Pod: give --kubeconfig")
		}
		if err != nil {
			return nil, fmt.Errorf("how to reach the API server: %w", err)
		}
	}
	c = rest.CopyConfig(c)
	if o.APIServer != "" {
		c.Host = kubeapi.ServerURL(o.APIServer)
	}
	c.Timeout = requestLimit
	c.UserAgent = "ceo-operator"
	return c, nil
}

// Scheme has the types that the operator reads and writes.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run runs until ctx ends, or until another operator takes the lead.
//
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=kube-system,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=kube-system,verbs=get;update,resourceNames=ceo-operator
// +kubebuilder:rbac:groups="",resources=events,namespace=kube-system,verbs=create;patch
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	c, err := o.config()
	if err != nil {
		return err
	}
	// A certificate that cannot be read is said now, and not at the first call.
	if _, err := pki.ClientTLS(o.Files(), "agent"); err != nil {
		return fmt.Errorf("the operator's certificate, to call the agents with: %w", err)
	}
	scheme, err := Scheme()
	if err != nil {
		return err
	}
	logger := logr.FromSlogHandler(o.Log.Handler())
	log.SetLogger(logger)
	mgr, err := ctrl.NewManager(c, managerOptions(o, scheme, logger))
	if err != nil {
		return fmt.Errorf("the operator cannot start: %w", err)
	}
	pool := agentclient.NewPool(o.Files())
	defer func() { _ = pool.Close() }()
	if err := register(mgr, pool, o); err != nil {
		return err
	}
	o.Log.Info("operator starts", "apiserver", c.Host)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("the operator ended: %w", err)
	}
	return nil
}

func managerOptions(o Options, scheme *runtime.Scheme, logger logr.Logger) ctrl.Options {
	kubeSystem := map[string]cache.Config{Namespace: {}}
	// Each cache holds what is used and no more: it is memory, and what RBAC has to allow.
	named := func(name string) cache.ByObject {
		return cache.ByObject{Namespaces: kubeSystem, Field: fields.OneTermEqualSelector("metadata.name", name)}
	}
	return ctrl.Options{
		Scheme: scheme, Logger: logger,
		Metrics:                metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress: o.HealthAddress,
		LeaderElection:         true, LeaderElectionID: LeaseName, LeaderElectionNamespace: Namespace,
		// The one that ends in good order lets go at once: the next does not have to wait for the lease to run out.
		LeaderElectionReleaseOnCancel: true,
		// At rest the lease is all that is written, so it is renewed no more often than a kubelet renews its own. The operator
		// uses its node's API server, which is away for up to half a minute when the operator restarts the etcd there: that
		// must not cost the lead.
		LeaseDuration: new(45 * time.Second), RenewDeadline: new(40 * time.Second), RetryPeriod: new(10 * time.Second),
		// Two operators in one process are two, in tests.
		Controller: config.Controller{SkipNameValidation: new(true)},
		Client:     client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Node{}: {Transform: slimNode},
				// By its name: a right that names the object covers no list of all of them.
				&v1alpha1.EtcdCluster{}: {Field: fields.OneTermEqualSelector("metadata.name", v1alpha1.ClusterName)},
				&corev1.ConfigMap{}:     named(endpoints.ConfigMapName),
				&corev1.Service{}:       named(endpoints.ServiceName),
				&discoveryv1.EndpointSlice{}: {
					Namespaces: kubeSystem, Label: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: endpoints.ServiceName}),
				},
			},
		},
	}
}

// slimNode keeps what is asked of a Node: a cluster can have thousands of them.
func slimNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	n.ManagedFields, n.Annotations = nil, nil
	n.Spec = corev1.NodeSpec{ProviderID: n.Spec.ProviderID, Taints: n.Spec.Taints, Unschedulable: n.Spec.Unschedulable}
	n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses, Conditions: n.Status.Conditions}
	return n, nil
}

func register(mgr ctrl.Manager, agents observe.Agents, o Options) error {
	gatherer := func() *observe.Gatherer {
		return &observe.Gatherer{API: mgr.GetClient(), Agents: agents, Log: o.Log, Now: time.Now, Grace: o.Grace, Limit: o.InspectLimit}
	}
	watch := &observe.Watch{Gatherer: gatherer(), Every: o.Every, CataloguesEvery: o.CataloguesEvery}
	recorder := mgr.GetEventRecorder("ceo-operator")
	turn := &observe.Turn{}
	rolls := &rollouts.Controller{Turn: turn, Client: mgr.GetClient(), Watch: watch, Agents: agents, Log: o.Log, Bound: o.RolloutBound}
	ca := &tls.Controller{Client: mgr.GetClient(), Watch: watch, Agents: agents, Events: recorder, Log: o.Log, Turn: turn, RollOuts: rolls}
	member := &members.Controller{Client: mgr.GetClient(), Watch: watch, Agents: agents, Events: recorder, Log: o.Log, Now: time.Now}
	mender := &maintenance.Mender{Agents: agents, Events: recorder, Log: o.Log, Now: time.Now}
	databases := &maintenance.Controller{Mender: mender, Client: mgr.GetClient(), Watch: watch, HashAfter: o.HashAfter}
	for _, c := range []interface{ Register(ctrl.Manager) error }{
		&status.Controller{Client: mgr.GetClient(), Watch: watch, Events: recorder, Log: o.Log, Reporters: []report.Reporter{member, rolls, databases, ca}},
		member, rolls, databases, ca,
		&endpoints.Controller{Client: mgr.GetClient(), Watch: watch, Events: recorder, Log: o.Log},
		&recoveries.Controller{Client: mgr.GetClient(), Watch: watch, Agents: agents, Events: recorder, Log: o.Log},
		&rollbacks.Controller{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Watch: watch, Agents: agents, Events: recorder, Log: o.Log, Now: time.Now},
		&settings.Controller{Client: mgr.GetClient(), Watch: watch, Agents: agents, Events: recorder, Log: o.Log},
		&schedules.Controller{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Watch: watch, Agents: agents, Events: recorder, Log: o.Log, Now: time.Now},
		&backups.Controller{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Watch: watch, Agents: agents, Events: recorder, Log: o.Log, Now: time.Now},
	} {
		if err := c.Register(mgr); err != nil {
			return fmt.Errorf("the operator cannot start: %w", err)
		}
	}
	if err := mgr.Add(watch); err != nil {
		return err
	}
	unled := &maintenance.Unled{
		Mender: mender, Live: mgr.GetAPIReader(), Gatherer: gatherer(), Elected: mgr.Elected(),
		Lease: client.ObjectKey{Namespace: Namespace, Name: LeaseName}, Every: o.UnledEvery, After: o.UnledAfter,
	}
	if err := mgr.Add(unled); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("cache", func(r *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(r.Context()) {
			return errors.New("the API server was not read yet")
		}
		return nil
	})
}
