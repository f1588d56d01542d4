package cli

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
)

func rolloutAt(generation int64, r *v1alpha1.RolloutStatus) func(*v1alpha1.EtcdCluster) {
	return func(c *v1alpha1.EtcdCluster) { c.Status.ObservedGeneration, c.Status.Rollout = generation, r }
}

// TestRedeploy: each look gets the next of the states; the last one stays. A patch makes generation 2.
func TestRedeploy(t *testing.T) {
	complete := &v1alpha1.RolloutStatus{State: v1alpha1.RolloutComplete, Updated: "3/3"}
	running := &v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, Updated: "1/3", Message: "cp-2 is waited for"}
	stopped := &v1alpha1.RolloutStatus{State: v1alpha1.RolloutStopped, Message: "cp-2 was put back"}
	skew := func(c *v1alpha1.EtcdCluster) {
		c.Status.ObservedGeneration = 2
		c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonVersionSkew, Message: "a downgrade"}}
	}
	type states = []func(*v1alpha1.EtcdCluster)
	for name, c := range map[string]struct {
		o      RedeployOptions
		states states
		down   int // requests that fail, after the patch
		code   int
		said   string
	}{
		"asked for":                            {RedeployOptions{Reason: "new"}, states{rolloutAt(1, complete)}, 0, ExitOK, "one member at a time"},
		"the same reason again":                {RedeployOptions{Reason: "old"}, states{rolloutAt(1, complete)}, 0, ExitOK, "nothing to do"},
		"over":                                 {RedeployOptions{Reason: "new", Wait: true}, states{rolloutAt(1, complete), rolloutAt(1, complete), rolloutAt(2, running), rolloutAt(2, complete)}, 0, ExitOK, "3/3 nodes"},
		"the API server is restarted with it":  {RedeployOptions{Reason: "new", Wait: true}, states{rolloutAt(1, complete), rolloutAt(2, running), rolloutAt(2, complete)}, 2, ExitOK, "3/3 nodes"},
		"stopped":                              {RedeployOptions{Reason: "new", Wait: true}, states{rolloutAt(1, complete), rolloutAt(2, running), rolloutAt(2, stopped)}, 0, ExitNotHealthy, "put back"},
		"not over in time":                     {RedeployOptions{Reason: "new", Wait: true, Timeout: 50 * time.Millisecond}, states{rolloutAt(1, complete), rolloutAt(2, running)}, 0, ExitPartial, "is not over"},
		"the end of the one before is not its": {RedeployOptions{Reason: "new", Wait: true, Timeout: 50 * time.Millisecond}, states{rolloutAt(1, complete)}, 0, ExitPartial, "take it up"},
		"a specification that cannot work":     {RedeployOptions{Reason: "new", Wait: true}, states{rolloutAt(1, complete), skew}, 0, ExitNotHealthy, "a downgrade"},
		"unmanaged":                            {RedeployOptions{Reason: "new"}, states{func(c *v1alpha1.EtcdCluster) { c.Spec.ManagementState = v1alpha1.Unmanaged }}, 0, ExitNotHealthy, "Unmanaged"},
		"no reason":                            {RedeployOptions{Reason: "  "}, nil, 0, ExitFailed, "--reason is empty"},
		"a long reason":                        {RedeployOptions{Reason: strings.Repeat("x", 257)}, nil, 0, ExitFailed, "257 bytes"},
		"two lines":                            {RedeployOptions{Reason: "a\nb"}, nil, 0, ExitFailed, "one line"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			looks, down := 0, 0
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if looks > 1 && down < c.down {
					down++
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				cluster := v1alpha1.EtcdCluster{}
				cluster.Spec.ForceRedeploymentReason = "old"
				cluster.Generation = 1
				c.states[min(looks, len(c.states)-1)](&cluster)
				if looks > 0 {
					cluster.Generation = 2
				}
				if r.Method == http.MethodGet || looks == 0 {
					looks++
				}
				_ = json.NewEncoder(w).Encode(cluster)
			}))
			defer s.Close()
			dir := t.TempDir()
			config := filepath.Join(dir, "admin.conf")
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
			raw, err := json.Marshal(map[string]any{
				"current-context": "a", "contexts": []any{map[string]any{"name": "a", "context": map[string]any{"cluster": "k", "user": "u"}}},
				"clusters": []any{map[string]any{"name": "k", "cluster": map[string]any{"server": s.URL, "certificate-authority-data": ca}}},
				"users":    []any{map[string]any{"name": "u", "user": map[string]any{"token": "t"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(config, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			c.o.Kubeconfig, c.o.Format, c.o.look = config, Text, time.Millisecond
			if c.o.Timeout == 0 {
				c.o.Timeout = 20 * time.Second
			}
			var out, said bytes.Buffer
			err = Redeploy(t.Context(), Streams{Out: &out, Err: &said, Name: "ceo"}, c.o)
			all := fmt.Sprint(out.String(), said.String(), err)
			if CodeOf(err) != c.code || !strings.Contains(all, c.said) {
				t.Errorf("exit %d: %s", CodeOf(err), all)
			}
		})
	}
}
