//go:build integration

package v1alpha1_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/apiservertest"
	"clusteretcd.io/ceo/internal/etcdtest"
)

func condition(kind, status, reason, message string) string {
	return `{type: ` + kind + `, status: "` + status + `", reason: ` + reason + `, message: "` + message + `", lastTransitionTime: "2026-11-26T12:00:00Z", observedGeneration: 1}`
}

// One whole status of each kind.
var statuses = map[string]string{
	"EtcdCluster": `{observedGeneration: 1, summary: cp-2 is gone, ready: 2/3, clusterID: 8e9e05c52164694d, epoch: 2, clusterVersion: 3.7.0,
		certificatesValidUntil: "2027-11-26T12:00:00Z", conditions: [` +
		condition("Available", "True", "QuorumServes", "2 of 3 voters serve") + `, ` +
		condition("QuorumSafe", "False", "CannotLoseOne", "") + `, ` +
		condition("Degraded", "True", "MemberMissing", "cp-2") + `, ` +
		condition("BackupsProven", "Unknown", "NotObserved", "the store could not be read") + `]}`,
	"EtcdBackup": `{observedGeneration: 1, node: cp-1, storedBytes: 1048576, location: "file:///var/lib/etcd-backup", conditions: [` +
		condition("Succeeded", "True", "BackupVerified", "read back and verified") + `, ` + condition("Proven", "False", "NotRequested", "") + `],
		backup: {id: 20261124t140209z-4f1c, revision: 918221, digest: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}}`,
	"EtcdBackupSchedule": `{observedGeneration: 1, consecutiveFailures: 0, conditions: [` +
		condition("UpToDate", "True", "AsExpected", "all is well") + `, ` + condition("Proven", "False", "ProofOutdated", "") + `],
		lastSuccess: {id: 20261124t140209z-4f1c, time: "2026-11-24T14:02:09Z"},
		lastProven: {id: 20261124t140209z-4f1c, provenTime: "2026-11-24T14:03:09Z"}}`,
	"EtcdRecovery": `{observedGeneration: 1, source: "backup 20261124t140209z-4f1c", coordinator: cp-1, epoch: 3, waitingFor: [cp-2], conditions: [` +
		condition("Complete", "False", "WaitingForConsent", "read status.plan") + `],
		plan: {id: 5f3a-c21e, clusterID: 8e9e05c5, steps: [verify, fence], mayLose: [all since], risks: [{name: rollback, text: all is lost}]}}`,
}

var specs = map[string]string{"EtcdCluster": `{}`, "EtcdBackup": `{}`, "EtcdBackupSchedule": `{schedule: "@daily"}`, "EtcdRecovery": rollback}

// otherSpecs would change the spec.
var otherSpecs = map[string]string{
	"EtcdCluster": `{quota: 1Gi}`, "EtcdBackup": `{prove: true}`, "EtcdBackupSchedule": `{suspend: true}`, "EtcdRecovery": `{rollback: {node: cp-2}}`,
}

// status is a subresource of its own: who writes the one does not write the other, and only a spec has a generation.
func (a *api) status(t *testing.T) {
	for kind, spec := range specs {
		t.Run(kind, func(t *testing.T) {
			before := a.keep(t, object(t, kind, "cluster", spec))
			got, err := a.merge(t, kind, "cluster", `{status: `+statuses[kind]+`}`)
			if err != nil || got.Object["status"] != nil {
				t.Errorf("who writes the object wrote the status: %v (%v)", got.Object["status"], err)
			}
			if got, err = a.merge(t, kind, "cluster", `{status: `+statuses[kind]+`, spec: `+otherSpecs[kind]+`}`, "status"); err != nil {
				t.Fatal(err)
			}
			if string(normal(got.Object["spec"])) != string(normal(before.Object["spec"])) || got.GetGeneration() != before.GetGeneration() {
				t.Errorf("who writes the status changed the spec: %v", got.Object["spec"])
			}
			want := map[string]any{}
			if err := yaml.Unmarshal([]byte(statuses[kind]), &want); err != nil {
				t.Fatal(err)
			}
			if g, w := normal(got.Object["status"]), normal(want); string(g) != string(w) {
				t.Errorf("stored\n%s, not\n%s", g, w)
			}
			a.conditionsMerge(t, kind)
		})
	}
	a.keep(t, object(t, "EtcdBackup", "b", `{}`))
	for _, c := range []struct{ patch, want string }{
		{`{status: {conditions: [` + condition("Succeeded", "Maybe", "R", "") + `]}}`, "Unsupported value"},
		{`{status: {conditions: [` + condition("Proven", "True", "R", "") + `, ` + condition("Proven", "False", "R", "") + `]}}`, "Duplicate value"},
		{`{status: {backup: {id: latest}}}`, "should match"},
	} {
		_, err := a.merge(t, "EtcdBackup", "b", c.patch, "status")
		a.wantRefused(t, c.patch, err, c.want)
	}
}

// conditionsMerge: two owners of one condition each leave the other's alone (listType=map).
func (a *api) conditionsMerge(t *testing.T, kind string) {
	t.Helper()
	extra := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
		"type": "Extra", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-11-26T12:00:00Z",
	}}}}}
	if kind == "EtcdCluster" {
		extra.Object["status"].(map[string]any)["epoch"] = int64(2)
	}
	extra.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	extra.SetName("cluster")
	got, err := a.of(kind).ApplyStatus(etcdtest.Context(t), "cluster", extra, metav1.ApplyOptions{FieldManager: "another"})
	if err != nil {
		t.Fatal(err)
	}
	conditions, _, _ := unstructured.NestedSlice(got.Object, "status", "conditions")
	want := map[string]any{}
	_ = yaml.Unmarshal([]byte(statuses[kind]), &want)
	if len(conditions) != len(want["conditions"].([]any))+1 {
		t.Errorf("another owner's condition replaced the others: %v", conditions)
	}
}

// columns: what `kubectl get` prints, as the server makes it.
func (a *api) columns(t *testing.T) {
	for kind, want := range map[string]string{
		"EtcdCluster":        "NAME=cluster READY=2/3 AVAILABLE=True QUORUM-SAFE=False DEGRADED=True BACKUPS-PROVEN=Unknown VERSION=3.7.0 SUMMARY=cp-2 is gone AGE=* PROGRESSING= UPGRADEABLE= MANAGED=Managed EPOCH=2 CLUSTER-ID=8e9e05c52164694d CERTS-UNTIL=2027-11-26T12:00:00Z",
		"EtcdBackup":         "NAME=cluster SUCCEEDED=True PROVEN=False BACKUP=20261124t140209z-4f1c REVISION=918221 MESSAGE=read back and verified AGE=* NODE=cp-1 BYTES=1048576 LOCATION=file:///var/lib/etcd-backup",
		"EtcdBackupSchedule": "NAME=cluster SCHEDULE=@daily SUSPEND=false UP-TO-DATE=True PROVEN=False LAST-SUCCESS=* LAST-PROVEN=* MESSAGE=all is well AGE=* FAILURES=0 NEXT=",
		"EtcdRecovery":       `NAME=cluster TYPE=Rollback COMPLETE=False STATE=WaitingForConsent SOURCE=backup 20261124t140209z-4f1c MESSAGE=read status.plan AGE=* NODE=cp-1 EPOCH=3 WAITING-FOR=["cp-2"]`,
	} {
		t.Run(kind, func(t *testing.T) {
			a.keep(t, object(t, kind, "cluster", specs[kind]))
			if _, err := a.merge(t, kind, "cluster", `{status: `+statuses[kind]+`}`, "status"); err != nil {
				t.Fatal(err)
			}
			if got := a.row(t, kind); got != want {
				t.Errorf("%s prints\n%s, not\n%s", kind, got, want)
			}
		})
	}
}

// row gives the one row of a kind's table; a date's age as *, when it is one.
func (a *api) row(t testing.TB, kind string) string {
	t.Helper()
	client, err := rest.HTTPClientFor(a.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	gv := v1alpha1.GroupVersion
	req, err := http.NewRequestWithContext(etcdtest.Context(t), http.MethodGet,
		fmt.Sprintf("%s/apis/%s/%s/%s", a.server.Config.Host, gv.Group, gv.Version, resources[kind]), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	table := metav1.Table{}
	if err := utiljson.Unmarshal(body, &table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("no table of one row: %s (%v)", body, err)
	}
	var cells []string
	age := regexp.MustCompile(`^[0-9]+[smhdy]([0-9]+[smhd])?$`)
	for i, c := range table.ColumnDefinitions {
		v := table.Rows[0].Cells[i]
		s := fmt.Sprint(v)
		if v == nil {
			s = ""
		}
		if age.MatchString(s) && (c.Type == "date" || c.Name == "Age") {
			s = "*"
		}
		cells = append(cells, strings.ToUpper(c.Name)+"="+s)
	}
	return strings.Join(cells, " ")
}

// everyRule: a rule that no row above was refused by could as well not be there.
func (a *api) everyRule(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(crdDir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all, rules := strings.Join(a.errors, "\n"), 0
	for _, f := range files {
		walk(apiservertest.ReadYAML(t, f).Object, func(rule map[string]any) {
			rules++
			words := []string{}
			if m, ok := rule["message"].(string); ok {
				words = append(words, m)
			} else if e, ok := rule["messageExpression"].(string); ok {
				// What is quoted in it is what it always says.
				for i, part := range strings.Split(e, "'") {
					if i%2 == 1 {
						words = append(words, part)
					}
				}
			}
			if len(words) == 0 {
				t.Errorf("%s: the rule %q has no message for a person", f, rule["rule"])
			}
			for _, w := range words {
				if !strings.Contains(all, w) {
					t.Errorf("%s: no row was refused with %q", f, w)
				}
			}
		})
	}
	if rules < 30 {
		t.Errorf("only %d rules were found in %v", rules, files)
	}
	t.Logf("%d rules, %d refusals", rules, len(a.errors))
}

// walk calls do for each CEL rule in a schema.
func walk(v any, do func(map[string]any)) {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			if rules, ok := e.([]any); ok && k == "x-kubernetes-validations" {
				for _, r := range rules {
					do(r.(map[string]any))
				}
				continue
			}
			walk(e, do)
		}
	case []any:
		for _, e := range x {
			walk(e, do)
		}
	}
}

// everyField: the sample that says it has every field of the spec has them.
func everyField(t testing.TB, o *unstructured.Unstructured) {
	t.Helper()
	crd := apiservertest.ReadYAML(t, filepath.Join(crdDir, "clusteretcd.io_etcdclusters.yaml"))
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	schema, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec")
	var compare func(path string, schema map[string]any, value any)
	compare = func(path string, schema map[string]any, value any) {
		properties, _ := schema["properties"].(map[string]any)
		for name, p := range properties {
			m, ok := value.(map[string]any)
			if !ok || m[name] == nil {
				t.Errorf("the sample with every field has no %s.%s", path, name)
				continue
			}
			compare(path+"."+name, p.(map[string]any), m[name])
		}
	}
	compare("spec", schema, o.Object["spec"])
}

func sorted(files []string) []string {
	return slices.SortedFunc(slices.Values(files), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
}

// normal is a value as JSON with a duration's zero parts left out, as 5m and 5m0s are one.
func normal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(err.Error())
	}
	return regexp.MustCompile(`("[0-9]+h|m)0m0s"|m0s"`).ReplaceAllFunc(b, func(m []byte) []byte {
		s := strings.TrimSuffix(strings.TrimSuffix(string(m), `0s"`), "0m") + `"`
		return []byte(s)
	})
}

func parsed(t testing.TB, s string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("the test's own JSON: %v", err)
	}
	return v
}

func fromType(t testing.TB, o runtime.Object) *unstructured.Unstructured {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	gvks, _, err := scheme.ObjectKinds(o)
	if err != nil {
		t.Fatal(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvks[0])
	return u
}

func itoa(n int) string { return strconv.Itoa(n) }
