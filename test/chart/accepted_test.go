//go:build integration

package chart_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/cli"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// kubeconfig of the test's API server, with all rights.
func kubeconfig(t *testing.T, api *apiservertest.Server) string {
	t.Helper()
	raw, err := yaml.Marshal(map[string]any{
		"current-context": "test",
		"contexts":        []any{map[string]any{"name": "test", "context": map[string]any{"cluster": "c", "user": "u"}}},
		"clusters":        []any{map[string]any{"name": "c", "cluster": map[string]any{"server": api.Config.Host, "certificate-authority": api.Config.CAFile}}},
		"users":           []any{map[string]any{"name": "u", "user": map[string]any{"token": api.Config.BearerToken}}},
	})
	must(t, err)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(path, raw, 0o600))
	return path
}

// monitoringCRDs stand in for those of the Prometheus operator: the names, and any content.
func monitoringCRDs(t *testing.T, api *apiservertest.Server) {
	t.Helper()
	crds := api.Dynamic(t).Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for kind, plural := range map[string]string{"PrometheusRule": "prometheusrules", "ServiceMonitor": "servicemonitors"} {
		name := plural + ".monitoring.coreos.com"
		o := &unstructured.Unstructured{}
		must(t, yaml.Unmarshal(fmt.Appendf(nil, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s}
spec:
  group: monitoring.coreos.com
  names: {kind: %s, plural: %s, singular: %s}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, name, kind, plural, strings.ToLower(kind)), &o.Object))
		_, err := crds.Create(etcdtest.Context(t), o, metav1.CreateOptions{})
		must(t, err)
		etcdtest.Eventually(t, name+" to be served", func() (bool, string) {
			got, err := crds.Get(etcdtest.Context(t), name, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			return strings.Contains(fmt.Sprint(got.Object["status"]), "Established"), fmt.Sprint(got.Object["status"])
		})
	}
}

// TestAccepted: a real kube-apiserver takes every object of every values file, with no field that it does not know, and
// applying them again changes nothing (I20).
func TestAccepted(t *testing.T) {
	api := apiservertest.Start(t)
	config := kubeconfig(t, api)
	install := func(o cli.InstallOptions) string {
		t.Helper()
		o.Apply, o.Namespace, o.Kubeconfig = true, "kube-system", config
		var said bytes.Buffer
		must(t, cli.InstallChart(etcdtest.Context(t), cli.Streams{Out: &said, Err: &said, Name: "ceo"}, o))
		return said.String()
	}
	monitoringCRDs(t, api)
	for _, file := range valuesFiles(t) {
		o := cli.InstallOptions{DryRun: true}
		if file != "" {
			o.Files = []string{file}
		}
		if said := install(o); !strings.Contains(said, "Deployment kube-system/ceo-operator would be applied") {
			t.Errorf("%s: %s", file, said)
		}
	}
	deployments := api.Dynamic(t).Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace("kube-system")
	if l, err := deployments.List(etcdtest.Context(t), metav1.ListOptions{}); err != nil || len(l.Items) != 0 {
		t.Fatalf("a dry run made %v (%v)", l, err)
	}

	versions := func() map[string]string {
		out := map[string]string{}
		for _, r := range []schema.GroupVersionResource{
			{Group: "apps", Version: "v1", Resource: "deployments"},
			{Group: "apps", Version: "v1", Resource: "daemonsets"},
			{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
			{Version: "v1", Resource: "serviceaccounts"},
			{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
			{Version: "v1", Resource: "services"},
			{Group: "monitoring.coreos.com", Version: "v1", Resource: "prometheusrules"},
			{Version: "v1", Resource: "configmaps"},
		} {
			l, err := api.Dynamic(t).Resource(r).Namespace("kube-system").List(etcdtest.Context(t), metav1.ListOptions{})
			must(t, err)
			for _, x := range l.Items {
				if strings.HasPrefix(x.GetName(), "ceo") {
					out[r.Resource+"/"+x.GetName()] = x.GetResourceVersion()
				}
			}
		}
		return out
	}
	o := cli.InstallOptions{Files: []string{"testdata/monitoring.yaml"}}
	install(o)
	first := versions()
	if len(first) < 9 {
		t.Errorf("only %v were made", first)
	}
	install(o)
	if again := versions(); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("applied again, something changed:\n%v\n%v", first, again)
	}
}
