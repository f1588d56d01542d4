//go:build integration

package v1alpha1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"clusteretcd.io/ceo/api/v1alpha1"
)

// defaults: an object that asks for nothing in particular, made from the Go type, asks for what docs/api.md says.
func (a *api) defaults(t *testing.T) {
	const schedule = `{schedule: "@daily"}`
	for _, c := range []struct{ kind, spec, want string }{
		{"EtcdCluster", anyCluster, `{
			"managementState":"Managed","etcd":{},"nodeSelector":{"node-role.kubernetes.io/control-plane":""},
			"tls":{"leafLifetime":"8760h","caLifetime":"87600h"},"unhealthyTimeout":"5m",
			"defragmentation":{"mode":"Automatic","fragmentationPercent":45,"minSize":"100Mi"},"hashCheckInterval":"4h",
			"backup":{"location":"file:///var/lib/etcd-backup","resources":true}}`},
		{"EtcdCluster", `{tls: {leafLifetime: 24h}, backup: {resources: false}}`, `{
			"managementState":"Managed","etcd":{},"nodeSelector":{"node-role.kubernetes.io/control-plane":""},
			"tls":{"leafLifetime":"24h","caLifetime":"87600h"},"unhealthyTimeout":"5m",
			"defragmentation":{"mode":"Automatic","fragmentationPercent":45,"minSize":"100Mi"},"hashCheckInterval":"4h",
			"backup":{"location":"file:///var/lib/etcd-backup","resources":false}}`},
		{"EtcdBackup", `{}`, `{"prove":false}`},
		{"EtcdBackupSchedule", schedule, `{"schedule":"@daily","suspend":false,"prove":{"policy":"Weekly"},
			"retention":{"last":24,"daily":7,"weekly":4},"historyLimit":10}`},
		{"EtcdBackupSchedule", `{schedule: "@daily", retention: {last: 3}}`, `{"schedule":"@daily","suspend":false,
			"prove":{"policy":"Weekly"},"retention":{"last":3},"historyLimit":10}`},
	} {
		got, err := a.try(t, object(t, c.kind, "cluster", c.spec))
		if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.spec, err)
			continue
		}
		if g, w := normal(got.Object["spec"]), normal(parsed(t, c.want)); string(g) != string(w) {
			t.Errorf("%s %s became\n%s, not\n%s", c.kind, c.spec, g, w)
		}
	}
	for _, o := range []*unstructured.Unstructured{fromType(t, &v1alpha1.EtcdCluster{}), fromType(t, &v1alpha1.EtcdBackup{})} {
		o.SetName("cluster")
		if spec := o.Object["spec"]; spec != nil {
			t.Errorf("an empty %s in Go sends a spec that would hide the defaults: %v", o.GetKind(), spec)
		}
		if _, err := a.try(t, o); err != nil {
			t.Errorf("an empty %s in Go: %v", o.GetKind(), err)
		}
	}
}

// changes: what was asked for once and must not be asked for otherwise afterwards.
func (a *api) changes(t *testing.T) {
	for _, c := range []struct{ kind, spec, patch, want string }{
		{"EtcdCluster", anyCluster, `{spec: {forceRedeploymentReason: new kernel}}`, ""},
		{"EtcdCluster", anyCluster, `{spec: {managementState: Unmanaged}}`, ""},
		{"EtcdCluster", anyCluster, `{spec: {etcd: {version: 3.7.3}}}`, ""}, // nothing is known of what runs yet
		{"EtcdBackup", `{}`, `{metadata: {labels: {a: b}}}`, ""},
		{"EtcdBackup", `{}`, `{spec: {prove: true}}`, "create another EtcdBackup"},
		{"EtcdBackup", `{}`, `{spec: {node: cp-2}}`, "create another EtcdBackup"},
		{"EtcdBackupSchedule", `{schedule: "@daily"}`, `{spec: {schedule: "@hourly", suspend: true}}`, ""},
		{"EtcdBackupSchedule", `{schedule: "@daily"}`, `{spec: {retention: {last: null, daily: null, weekly: null}}}`, "keeps every backup"},
		{"EtcdRecovery", rollback, `{spec: {type: Record, rollback: null, record: {recoveryID: r}}}`, "the type of a recovery cannot be changed"},
		{"EtcdRecovery", rollback, `{spec: {rollback: {backup: 20261124t140209z-0000}}}`, "delete it and create another EtcdRecovery"},
		{"EtcdRecovery", rollback, `{spec: {rollback: {node: cp-2}}}`, "delete it and create another EtcdRecovery"},
		{"EtcdRecovery", rollback, `{spec: {rollback: null}}`, "type: Rollback goes with rollback alone"},
		{"EtcdRecovery", `{type: Record, record: {recoveryID: r-1}}`, `{spec: {record: {recoveryID: r-2}}}`, "a record does not change"},
	} {
		name := "cluster"
		t.Run(c.kind+" "+c.patch, func(t *testing.T) {
			a.keep(t, object(t, c.kind, name, c.spec))
			_, err := a.merge(t, c.kind, name, c.patch)
			switch {
			case c.want != "":
				a.wantRefused(t, c.patch, err, c.want)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// consent: given to what is there already, once, and for good. What comes with its consent is refused (see refused), so
// that the same object, applied again after the roll-back has undone it, starts nothing.
func (a *api) consent(t *testing.T) {
	a.keep(t, object(t, "EtcdRecovery", "back", rollback))
	give := `{spec: {rollback: {consent: ` + consentText + `}}}`
	if _, err := a.merge(t, "EtcdRecovery", "back", give); err != nil {
		t.Fatalf("a consent that is given after the plan was read: %v", err)
	}
	if _, err := a.merge(t, "EtcdRecovery", "back", give); err != nil {
		t.Errorf("the same consent applied again changes nothing, and was refused: %v", err)
	}
	for _, patch := range []string{
		`{spec: {rollback: {consent: null}}}`,
		`{spec: {rollback: {consent: {clusterID: abc}}}}`,
		`{spec: {rollback: {consent: {backupDigest: ` + strings.Repeat("a", 64) + `}}}}`,
		`{spec: {rollback: {consent: {acceptRisks: [rollback, unreachable-quorum]}}}}`,
	} {
		_, err := a.merge(t, "EtcdRecovery", "back", patch)
		a.wantRefused(t, patch, err, "a consent is for one use: once given it is neither changed nor taken back")
	}
	if _, err := a.merge(t, "EtcdRecovery", "back", `{status: {recoveryID: r-1}}`, "status"); err != nil {
		t.Errorf("its status is written afterwards: %v", err)
	}
}

// againstStatus: P23, one minor version at a time, no downgrade, and no quota below the data; and in no case may a rule
// keep the operator from writing what it sees.
func (a *api) againstStatus(t *testing.T) {
	member := func(version string, size int) string {
		return `{id: "8e9e05c5", role: Leader, health: Healthy, version: ` + version + `, dbSizeBytes: ` + itoa(size) + `}`
	}
	for _, c := range []struct{ name, running, members, from, patch, want string }{
		{"the next minor version", "3.6.0", member("3.6.6", 1), `{etcd: {version: 3.6.6}}`, `{etcd: {version: 3.7.3}}`, ""},
		{"a patch down", "3.7.0", member("3.7.3", 1), `{etcd: {version: 3.7.3}}`, `{etcd: {version: 3.7.2}}`, ""},
		{"back before the last member was upgraded", "3.6.0", member("3.7.3", 1), `{etcd: {version: 3.7.3}}`, `{etcd: {version: 3.6.6}}`, ""},
		{"no version any more", "3.6.0", member("3.6.6", 1), `{etcd: {version: 3.6.6}}`, `{etcd: {version: null}}`, ""},
		{"a downgrade", "3.7.0", member("3.7.3", 1), `{etcd: {version: 3.7.3}}`, `{etcd: {version: 3.6.6}}`, "the cluster runs etcd 3.7.0, and 3.6.6 is a downgrade, which is refused"},
		{"a downgrade from nothing said", "3.7.0", member("3.7.3", 1), `{}`, `{etcd: {version: 3.6.6}}`, "is a downgrade, which is refused"},
		{"two minor versions at once", "3.5.0", member("3.5.26", 1), `{etcd: {version: 3.5.26}}`, `{etcd: {version: 3.7.3}}`, "is more than one minor version above it"},
		{"P23 3.5.25 to 3.6", "3.5.0", member("3.5.25", 1), `{etcd: {version: 3.5.25}}`, `{etcd: {version: 3.6.6}}`, "every member must run 3.5.26 or newer before 3.6"},
		{"P23 3.5.26 to 3.6", "3.5.0", member("3.5.26", 1), `{etcd: {version: 3.5.26}}`, `{etcd: {version: 3.6.6}}`, ""},
		{"P23 3.5.25 to 3.5.26", "3.5.0", member("3.5.25", 1), `{etcd: {version: 3.5.25}}`, `{etcd: {version: 3.5.26}}`, ""},
		{"a quota below the database", "3.7.0", member("3.7.3", 2<<30), `{}`, `{quota: 2Gi}`, "a member's database is larger than this quota"},
		{"a quota above it", "3.7.0", member("3.7.3", 2<<30), `{}`, `{quota: 3Gi}`, ""},
		{"something else, with a quota that became too small", "3.7.0", member("3.7.3", 9<<30), `{}`, `{forceRedeploymentReason: x}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.keep(t, object(t, "EtcdCluster", "cluster", c.from))
			// Whatever is seen can be written, also what the spec would not be allowed to ask for.
			for _, s := range []string{
				`{status: {epoch: 0, clusterVersion: 3.4.0, members: [` + member("3.4.0", 100<<30) + `]}}`,
				`{status: {epoch: 0, clusterVersion: ` + c.running + `, members: [` + c.members + `]}}`,
			} {
				if _, err := a.merge(t, "EtcdCluster", "cluster", s, "status"); err != nil {
					t.Fatalf("the operator could not write what it sees: %v", err)
				}
			}
			_, err := a.merge(t, "EtcdCluster", "cluster", `{spec: `+c.patch+`}`)
			switch {
			case c.want != "":
				a.wantRefused(t, c.patch, err, c.want)
			case err != nil:
				t.Error(err)
			}
		})
	}
}
