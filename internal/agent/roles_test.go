package agent

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/pki"
)

// Every call of the protocol has its rule, and every rule its call.
func TestEveryCallHasARule(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range agentpb.Agent_ServiceDesc.Methods {
		seen[m.MethodName] = true
	}
	for _, s := range agentpb.Agent_ServiceDesc.Streams {
		seen[s.StreamName] = true
	}
	for name := range seen {
		r, ok := table[name]
		if !ok || len(r.roles) == 0 || r.why == "" {
			t.Errorf("%s has no rule with its reason", name)
		}
	}
	for name := range table {
		if !seen[name] {
			t.Errorf("the rule for %s is for no call", name)
		}
	}
}

// What changes a node is for nobody who only looks or only backs up.
func TestLookersChangeNothing(t *testing.T) {
	looks := []string{"Inspect", "Observe", "PlanRecovery", "WatchRecovery", "ListBackups"}
	backs := []string{"TakeSnapshot", "VerifySnapshot", "WatchRecovery", "CreateBackup", "ListBackups", "VerifyBackup", "ProveBackup"}
	for name, r := range table {
		if slices.Contains(r.roles, pki.Viewer) && !slices.Contains(looks, name) {
			t.Errorf("a viewer may call %s", name)
		}
		if slices.Contains(r.roles, pki.Backup) && !slices.Contains(backs, name) {
			t.Errorf("the backup role may call %s", name)
		}
	}
}

func TestUnknownCallerIsRefused(t *testing.T) {
	for _, m := range []string{"/clusteretcd.agent.v1alpha1.Agent/Inspect", "/x/NoSuchCall"} {
		err := authorize(context.Background(), m)
		if c := status.Code(err); c != codes.Unauthenticated && c != codes.PermissionDenied {
			t.Errorf("%s without a caller: %v", m, err)
		}
	}
}
