//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/test/harness"
)

// Story 8: a roll-back is asked for in the API: the plan is shown, and with a consent to it the cluster goes back to the
// backup, once (I14).
func Test8Rollback(t *testing.T) {
	onlyInFull(t, "two minutes; the roll-back itself is story 5's")
	ctx := testContext(t, 20*time.Minute)
	operated(ctx, t)
	acks := wrote(ctx, t, "rollback-a", 40)
	apply(ctx, t, `{"apiVersion":"clusteretcd.io/v1alpha1","kind":"EtcdBackup","metadata":{"name":"before"},"spec":{"node":"cp-1"}}`)
	var b v1alpha1.EtcdBackup
	until(ctx, t, "etcdbackup/before", &b, func() (bool, any) {
		return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionSucceeded), b.Status.Conditions
	})
	acks = append(acks, wrote(ctx, t, "rollback-b", 40)...)

	const object = `{"apiVersion":"clusteretcd.io/v1alpha1","kind":"EtcdRecovery","metadata":{"name":"back"},"spec":{"type":"Rollback","rollback":{"backup":%q,"node":"cp-1"}}}`
	apply(ctx, t, fmt.Sprintf(object, b.Status.Backup.ID))
	var r v1alpha1.EtcdRecovery
	until(ctx, t, "etcdrecovery/back", &r, func() (bool, any) {
		return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionPlanned), r.Status.Conditions
	})
	p := r.Status.Plan
	if p == nil || len(p.Steps) == 0 || len(p.MayLose) == 0 || len(p.Risks) == 0 || p.Backup.Digest != b.Status.Backup.Digest {
		t.Fatalf("the plan: %+v", p)
	}
	_, before, err := lab.Members(ctx, "cp-1")
	must(t, err)
	var risks []string
	for _, k := range p.Risks {
		risks = append(risks, fmt.Sprintf("%q", k.Name))
	}
	_, err = lab.Kubectl(ctx, "patch", "etcdrecovery", "back", "--type", "merge", "-p", fmt.Sprintf(
		`{"spec":{"rollback":{"consent":{"clusterID":%q,"backupDigest":%q,"acceptRisks":[%s]}}}}`, p.ClusterID, p.Backup.Digest, strings.Join(risks, ",")))
	must(t, err)
	must(t, harness.Until(ctx, "another cluster", late, func(ctx context.Context) error {
		_, now, err := lab.Members(ctx, "cp-1")
		if err == nil && now == before {
			res, _ := lab.Kubectl(ctx, "get", "etcdrecovery", "back", "-o", "jsonpath={.status.conditions}", "--request-timeout=5s")
			err = fmt.Errorf("it is still the one of before; %s", res.Out)
		}
		return err
	}))
	how, err := lab.Ended(ctx, "cp-1", late)
	must(t, err)
	if how != "done" {
		t.Fatalf("the recovery ended as %q", how)
	}
	whole(ctx, t)
	recovered(ctx, t, acks, harness.Backup{Revision: b.Status.Backup.Revision})
	condition(ctx, t, "QuorumSafe", "True")
	must(t, harness.Until(ctx, "the record of the recovery", soon, func(ctx context.Context) error {
		res, err := lab.Kubectl(ctx, "get", "etcdrecoveries", "-o", `jsonpath={.items[?(@.spec.type=="Record")].status.newClusterID}`, "--request-timeout=5s")
		if err == nil && res.Out == "" {
			err = fmt.Errorf("there is none")
		}
		return err
	}))
}

func apply(ctx context.Context, t *testing.T, object string) {
	t.Helper()
	file := filepath.Join(lab.Scratch, "object.json")
	must(t, os.WriteFile(file, []byte(object), 0o600))
	kubectl(ctx, t, "apply", "-f", file)
}

// until reads an object until it is as wanted; otherwise what it is like is said.
func until(ctx context.Context, t *testing.T, object string, into any, is func() (bool, any)) {
	t.Helper()
	must(t, harness.Until(ctx, object, late, func(ctx context.Context) error {
		res, err := lab.Kubectl(ctx, "get", object, "-o", "json", "--request-timeout=5s")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(res.Out), into); err != nil {
			return err
		}
		if ok, like := is(); !ok {
			return fmt.Errorf("it is %v", like)
		}
		return nil
	}))
}
