package cli

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
)

func certState(ca *agentpb.CAState, left time.Duration) *agentpb.NodeState {
	return &agentpb.NodeState{
		Name: "cp-1", Ca: ca, Etcd: &agentpb.Etcd{Answers: true, HasLeader: true},
		Certificates: []*agentpb.Certificate{{Path: "/etc/kubernetes/pki/etcd/server.crt", SignedBy: "old", NotBefore: timestamppb.New(time.Now().AddDate(-1, 0, 0)), NotAfter: timestamppb.New(time.Now().Add(left))}},
	}
}

// The exit codes of a verb that needs no API server.
func TestCertsStatus(t *testing.T) {
	a := newScripted(t)
	for _, row := range []struct {
		what string
		node *agentpb.NodeState
		code int
	}{
		{"well", certState(nil, 300*24*time.Hour), ExitOK},
		{"expired", certState(nil, -time.Hour), ExitNotHealthy},
		{"dark", &agentpb.NodeState{Name: "cp-1", Unreachable: "its agent does not answer"}, ExitNotHealthy},
	} {
		a.nodes = []*agentpb.NodeState{row.node}
		for _, f := range []Format{Text, JSON} {
			err := CertsStatus(t.Context(), Streams{Out: io.Discard, Err: io.Discard, Name: "ceo"}, CertsOptions{Target: Target{Paths: a.paths}, Format: f})
			if CodeOf(err) != row.code {
				t.Errorf("%s, %s: %v", row.what, f, err)
			}
		}
	}
}

// One reason is one change, which needs the cluster's name; whoever looks at it later is told what came of it. $KUBECONFIG
// says where the API server is.
func TestRotateCA(t *testing.T) {
	well := certState(nil, 300*24*time.Hour)
	done := certState(&agentpb.CAState{Trusted: []string{"new"}, Signing: "new", Target: "new", Reason: "yearly", EtcdTrusts: []string{"new"}}, 300*24*time.Hour)
	under := certState(&agentpb.CAState{Trusted: []string{"old", "new"}, Signing: "old", Target: "new", Reason: "yearly", EtcdTrusts: []string{"old"}}, 300*24*time.Hour)
	dark := &agentpb.NodeState{Name: "cp-1", Unreachable: "its agent does not answer"}
	yes := RotateCAOptions{Reason: "yearly", Yes: true, Confirm: "prod"}
	with := func(f func(*RotateCAOptions)) RotateCAOptions {
		o := yes
		f(&o)
		return o
	}
	for name, c := range map[string]struct {
		o     RotateCAOptions
		node  *agentpb.NodeState
		spec  v1alpha1.EtcdClusterSpec
		then  *agentpb.NodeState // what the node says once it was asked for
		code  int
		said  string
		wrote bool
	}{
		"asked for":            {yes, well, v1alpha1.EtcdClusterSpec{}, nil, ExitOK, "is asked for", true},
		"over":                 {with(func(o *RotateCAOptions) { o.Wait = true }), well, v1alpha1.EtcdClusterSpec{}, done, ExitOK, "new CA alone", true},
		"not over in time":     {with(func(o *RotateCAOptions) { o.Wait = true; o.Timeout = 200 * time.Millisecond }), well, v1alpha1.EtcdClusterSpec{}, under, ExitPartial, "TrustBoth", true},
		"followed again":       {RotateCAOptions{Reason: "yearly", Wait: true}, under, v1alpha1.EtcdClusterSpec{TLS: v1alpha1.TLSSpec{CARotationReason: "yearly"}}, done, ExitOK, "new CA alone", false},
		"a dry run":            {with(func(o *RotateCAOptions) { o.DryRun = true }), well, v1alpha1.EtcdClusterSpec{}, nil, ExitNotHealthy, "IssueLeaves", false},
		"done already":         {yes, done, v1alpha1.EtcdClusterSpec{}, nil, ExitOK, "nothing to do", false},
		"a node is dark (I23)": {yes, dark, v1alpha1.EtcdClusterSpec{}, nil, ExitRefused, "cannot be looked at", false},
		"another cluster":      {with(func(o *RotateCAOptions) { o.Confirm = "test" }), well, v1alpha1.EtcdClusterSpec{}, nil, ExitRefused, "--confirm-cluster=prod", false},
		"nobody to be asked":   {with(func(o *RotateCAOptions) { o.Yes = false }), well, v1alpha1.EtcdClusterSpec{}, nil, ExitRefused, "no terminal", false},
		"unmanaged":            {yes, well, v1alpha1.EtcdClusterSpec{ManagementState: v1alpha1.Unmanaged}, nil, ExitNotHealthy, "Unmanaged", false},
		"no reason":            {with(func(o *RotateCAOptions) { o.Reason = " " }), well, v1alpha1.EtcdClusterSpec{}, nil, ExitFailed, "--reason is empty", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newScripted(t)
			a.nodes = []*agentpb.NodeState{c.node}
			wrote := ""
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				cluster := v1alpha1.EtcdCluster{Spec: c.spec}
				if r.Method == http.MethodPatch {
					raw, _ := io.ReadAll(r.Body)
					wrote = string(raw)
				}
				if c.then != nil {
					a.mu.Lock()
					a.nodes = []*agentpb.NodeState{c.then}
					a.mu.Unlock()
				}
				_ = json.NewEncoder(w).Encode(cluster)
			}))
			defer s.Close()
			t.Setenv("KUBECONFIG", testKubeconfig(t, s))
			c.o.Target.Paths, c.o.Format, c.o.look = a.paths, Text, time.Millisecond
			if c.o.Timeout == 0 {
				c.o.Timeout = 20 * time.Second
			}
			var out, said bytes.Buffer
			err := RotateCA(t.Context(), Streams{In: strings.NewReader(""), Out: &out, Err: &said, Name: "ceo"}, c.o)
			all := fmt.Sprint(out.String(), said.String(), err)
			if CodeOf(err) != c.code || !strings.Contains(all, c.said) {
				t.Errorf("exit %d: %s", CodeOf(err), all)
			}
			if (wrote != "") != c.wrote || c.wrote && !strings.Contains(wrote, `"caRotationReason":"yearly"`) {
				t.Errorf("wrote %q", wrote)
			}
		})
	}
}

// redeploy finds the API server by $KUBECONFIG, too.
func TestRedeployReadsKubeconfig(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(v1alpha1.EtcdCluster{})
	}))
	defer s.Close()
	t.Setenv("KUBECONFIG", testKubeconfig(t, s))
	if err := Redeploy(t.Context(), Streams{Out: io.Discard, Err: io.Discard, Name: "ceo"}, RedeployOptions{Reason: "new", Format: Text}); err != nil {
		t.Error(err)
	}
}

func testKubeconfig(t *testing.T, s *httptest.Server) string {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	raw, err := json.Marshal(map[string]any{
		"current-context": "a", "contexts": []any{map[string]any{"name": "a", "context": map[string]any{"cluster": "k", "user": "u"}}},
		"clusters": []any{map[string]any{"name": "k", "cluster": map[string]any{"server": s.URL, "certificate-authority-data": ca}}},
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{"token": "t"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "admin.conf")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
