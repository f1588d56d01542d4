//go:build integration

package v1alpha1_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/etcdtest"
)

const (
	crdDir    = "../../charts/ceo/crds"
	sampleDir = "../../docs/samples"
)

// api is a real kube-apiserver that serves the CRDs, and what it refused with.
type api struct {
	server *apiservertest.Server
	client dynamic.Interface
	// errors are the texts of all refusals that were expected: every rule must have been seen to refuse.
	errors []string
}

// TestAPI has one server for all, as it takes seconds to start.
func TestAPI(t *testing.T) {
	s := apiservertest.Start(t)
	s.InstallCRDs(t, crdDir)
	a := &api{server: s, client: s.Dynamic(t)}
	t.Run("samples", a.samples)
	t.Run("defaults", a.defaults)
	t.Run("accepted", a.accepted)
	t.Run("refused", a.refused)
	t.Run("changes", a.changes)
	t.Run("version and quota against the status", a.againstStatus)
	t.Run("I14 a consent is for one use", a.consent)
	t.Run("status", a.status)
	t.Run("columns", a.columns)
	if !t.Failed() {
		t.Run("every rule refused something", a.everyRule)
	}
}

var resources = map[string]string{
	"EtcdCluster": "etcdclusters", "EtcdBackup": "etcdbackups",
	"EtcdBackupSchedule": "etcdbackupschedules", "EtcdRecovery": "etcdrecoveries",
}

func (a *api) of(kind string) dynamic.ResourceInterface {
	return a.client.Resource(v1alpha1.GroupVersion.WithResource(resources[kind]))
}

// object is one of a kind with its spec as YAML.
func object(t testing.TB, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{}}
	content := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(spec), &content); err != nil {
		t.Fatalf("the test's own spec: %v", err)
	}
	o.Object["spec"] = content
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetName(name)
	return o
}

// try creates without keeping.
func (a *api) try(t testing.TB, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	t.Helper()
	return a.of(o.GetKind()).Create(etcdtest.Context(t), o,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: "Strict"})
}

// keep creates, and removes at the end of the test.
func (a *api) keep(t testing.TB, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	r := a.of(o.GetKind())
	got, err := r.Create(etcdtest.Context(t), o, metav1.CreateOptions{FieldValidation: "Strict"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Delete(context.WithoutCancel(t.Context()), o.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return got
}

// merge patches as `kubectl patch --type merge` does.
func (a *api) merge(t testing.TB, kind, name, patch string, sub ...string) (*unstructured.Unstructured, error) {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		t.Fatalf("the test's own patch: %v", err)
	}
	return a.of(kind).Patch(etcdtest.Context(t), name, "application/merge-patch+json", b,
		metav1.PatchOptions{FieldValidation: "Strict"}, sub...)
}

// samples applies what docs/ shows, in the order of the names, and reads each as its Go type without loss.
func (a *api) samples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(sampleDir, "*.yaml"))
	if err != nil || len(files) < len(resources) {
		t.Fatalf("samples: %v (%v)", files, err)
	}
	seen := map[string]bool{}
	// Shortest first: the plain ones before those that add to them.
	for _, f := range sorted(files) {
		o := apiservertest.ReadYAML(t, f)
		r := a.of(o.GetKind())
		got, err := r.Apply(etcdtest.Context(t), o.GetName(), o, metav1.ApplyOptions{FieldManager: "test"})
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		seen[o.GetKind()] = true
		strict(t, f, typed(o.GetKind()))
		roundTrip(t, got, typed(o.GetKind()))
		if f == filepath.Join(sampleDir, "etcdcluster-every-field.yaml") {
			everyField(t, o)
		}
	}
	for kind := range resources {
		if !seen[kind] {
			t.Errorf("no sample of %s", kind)
		}
	}
	for kind := range resources {
		if err := a.of(kind).DeleteCollection(etcdtest.Context(t), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	}
}

func typed(kind string) runtime.Object {
	switch kind {
	case "EtcdCluster":
		return &v1alpha1.EtcdCluster{}
	case "EtcdBackup":
		return &v1alpha1.EtcdBackup{}
	case "EtcdBackupSchedule":
		return &v1alpha1.EtcdBackupSchedule{}
	}
	return &v1alpha1.EtcdRecovery{}
}

func strict(t testing.TB, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

// roundTrip reads what the server stored into the Go type; written out again it must be the same.
func roundTrip(t testing.TB, o *unstructured.Unstructured, into any) {
	t.Helper()
	b, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
	again, err := runtime.DefaultUnstructuredConverter.ToUnstructured(into)
	if err != nil {
		t.Fatal(err)
	}
	want, got := normal(o.Object["spec"]), normal(again["spec"])
	if string(want) != string(got) {
		t.Errorf("the Go type does not hold what the server stored:\n%s\n%s", want, got)
	}
}
