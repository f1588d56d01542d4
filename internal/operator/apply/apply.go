// Package apply is how controllers write: server-side, with one stable owner each, and only what they own.
package apply

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Object makes an apply configuration of an object.
func Object(o client.Object, kind schema.GroupVersionKind) (runtime.ApplyConfiguration, error) {
	u, err := convert(o, kind)
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(u.Object, "status")
	return client.ApplyConfigurationFromUnstructured(u), nil
}

// Status makes one of an object's status alone.
func Status(o client.Object, kind schema.GroupVersionKind) (runtime.ApplyConfiguration, error) {
	u, err := convert(o, kind)
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(u.Object, "spec")
	return client.ApplyConfigurationFromUnstructured(u), nil
}

// StatusAt is as Status, and the write is a conflict if the object is of another resource version by then.
func StatusAt(o client.Object, kind schema.GroupVersionKind, resourceVersion string) (runtime.ApplyConfiguration, error) {
	u, err := convert(o, kind)
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(u.Object, "spec")
	u.SetResourceVersion(resourceVersion)
	return client.ApplyConfigurationFromUnstructured(u), nil
}

func convert(o client.Object, kind schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("convert %s %s: %w", kind.Kind, o.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(kind)
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "metadata", "resourceVersion")
	return u, nil
}

// Singleton begins a controller that has one thing to do, and does it after each look and each change of the objects.
func Singleton(mgr ctrl.Manager, name string, looks <-chan event.GenericEvent, watched ...client.Object) *builder.Builder {
	one := []ctrl.Request{{}}
	one[0].Name = name
	b := ctrl.NewControllerManagedBy(mgr).Named(name).WatchesRawSource(source.Channel(looks, handler.Funcs{
		GenericFunc: func(_ context.Context, _ event.GenericEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			q.Add(one[0])
		},
	}))
	for _, o := range watched {
		b = b.Watches(o, handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []ctrl.Request { return one }))
	}
	return b
}
