//go:build integration

package operator_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	authv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/charts/ceo"
	"clusteretcd.io/ceo/internal/chart"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// account is the operator's, as the API server sees it.
const account = "system:serviceaccount:kube-system:ceo-operator"

// grant gives the chart's roles to the chart's ServiceAccounts, and nothing else to anybody.
func (w *world) grant(t *testing.T) {
	t.Helper()
	values, err := chart.Values(ceo.Files, nil, nil)
	must(t, err)
	objects, err := chart.Render(ceo.Files, values, chart.Release{Name: "ceo", Namespace: "kube-system", Service: "ceo"})
	must(t, err)
	c, err := kubernetes.NewForConfig(w.api.Config)
	must(t, err)
	ctx, n := etcdtest.Context(t), 0
	into := func(o chart.Object, to any) {
		t.Helper()
		must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o, to))
		n++
	}
	for _, o := range objects {
		switch o.Kind() {
		case "ClusterRole":
			var r rbacv1.ClusterRole
			into(o, &r)
			_, err = c.RbacV1().ClusterRoles().Create(ctx, &r, metav1.CreateOptions{})
		case "ClusterRoleBinding":
			var r rbacv1.ClusterRoleBinding
			into(o, &r)
			_, err = c.RbacV1().ClusterRoleBindings().Create(ctx, &r, metav1.CreateOptions{})
		case "Role":
			var r rbacv1.Role
			into(o, &r)
			_, err = c.RbacV1().Roles(r.Namespace).Create(ctx, &r, metav1.CreateOptions{})
		case "RoleBinding":
			var r rbacv1.RoleBinding
			into(o, &r)
			_, err = c.RbacV1().RoleBindings(r.Namespace).Create(ctx, &r, metav1.CreateOptions{})
		}
		must(t, err)
	}
	if n != 6 {
		t.Fatalf("%d roles and bindings in the chart, want 6", n)
	}
}

// asAccount lets what is started from here on act as the operator's ServiceAccount, and notes what was forbidden to it.
func (w *world) asAccount() (forbidden func() []string) {
	var mu sync.Mutex
	var denied []string
	c := rest.CopyConfig(w.api.Config)
	c.Impersonate = rest.ImpersonationConfig{UserName: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}}
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			res, err := next.RoundTrip(r)
			if err == nil && res.StatusCode == http.StatusForbidden {
				mu.Lock()
				denied = append(denied, r.Method+" "+r.URL.String())
				mu.Unlock()
			}
			return res, err
		})
	})
	w.api.Config = c
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(denied)
	}
}

// TestRights: under the chart's roles, with RBAC on, no request of the operator's is forbidden, and it reaches nothing that
// it does not need.
func TestRights(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	w.grant(t)
	admin := w.api.Config
	forbidden := w.asAccount()
	nodes := w.newCluster3(t)
	stop := w.start(t)
	w.newCluster(t)
	w.waitCondition(t, v1alpha1.ConditionQuorumSafe, metav1.ConditionTrue, v1alpha1.ReasonCanLoseOne)
	w.waitEndpoints(t, 3, 0)
	w.recoveryOpen(t, nodes, func() { stop(); w.start(t) })
	w.backupOnce(t, nodes)
	if denied := forbidden(); len(denied) > 0 {
		t.Errorf("forbidden: %v", denied)
	}

	c, err := kubernetes.NewForConfig(admin)
	must(t, err)
	for _, a := range []authv1.ResourceAttributes{
		{Verb: "list", Resource: "secrets"},
		{Verb: "get", Resource: "secrets", Namespace: "kube-system"},
		{Verb: "create", Resource: "pods", Namespace: "kube-system"},
		{Verb: "delete", Resource: "nodes", Name: "cp-1"},
		{Verb: "patch", Resource: "nodes", Name: "cp-1"},
		{Verb: "patch", Resource: "configmaps", Namespace: "kube-system", Name: "kubeadm-config"},
		{Verb: "get", Resource: "configmaps", Namespace: "kube-system", Name: "kubeadm-config"},
		{Verb: "patch", Resource: "services", Namespace: "kube-system", Name: "kube-dns"},
		{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-system", Name: "kube-scheduler"},
		{Verb: "patch", Group: "clusteretcd.io", Resource: "etcdclusters", Name: "cluster"},
		{Verb: "delete", Group: "clusteretcd.io", Resource: "etcdclusters", Name: "cluster"},
		{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
		{Verb: "impersonate", Resource: "users", Name: "system:admin"},
	} {
		for _, who := range []string{account, "system:serviceaccount:kube-system:ceo-installer"} {
			review, err := c.AuthorizationV1().SubjectAccessReviews().Create(etcdtest.Context(t), &authv1.SubjectAccessReview{
				Spec: authv1.SubjectAccessReviewSpec{User: who, Groups: []string{"system:serviceaccounts", "system:authenticated"}, ResourceAttributes: &a},
			}, metav1.CreateOptions{})
			must(t, err)
			if review.Status.Allowed {
				t.Errorf("%s may %s: %s", who, fmt.Sprintf("%s %s/%s %s", a.Verb, a.Group, a.Resource, a.Name), review.Status.Reason)
			}
		}
	}
}
