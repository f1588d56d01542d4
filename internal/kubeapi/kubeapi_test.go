package kubeapi

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// server answers with a code and a body, and keeps what it was asked.
func server(t *testing.T, code int, body string) (kubeconfig string, asked *http.Request, sent *string) {
	t.Helper()
	asked, sent = &http.Request{}, new(string)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		*asked, *sent = *r, string(raw)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(dir, "admin.conf")
	config := `{current-context: a, contexts: [{name: b, context: {cluster: x}}, {name: a, context: {cluster: k, user: u}}],
clusters: [{name: k, cluster: {server: "` + s.URL + `", certificate-authority: ca.crt}}], users: [{name: u, user: {token: secret-token}}]}`
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, asked, sent
}

func TestPatchSpec(t *testing.T) {
	config, asked, sent := server(t, 200, `{"metadata":{"generation":7},"spec":{"forceRedeploymentReason":"x"}}`)
	c, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.PatchSpec(t.Context(), map[string]any{"forceRedeploymentReason": "x"})
	if err != nil || got.Generation != 7 || got.Spec.ForceRedeploymentReason != "x" {
		t.Fatalf("%+v %v", got, err)
	}
	if asked.Method != "PATCH" || asked.URL.Path != clusterPath || asked.Header.Get("Content-Type") != "application/merge-patch+json" ||
		asked.Header.Get("Authorization") != "Bearer secret-token" || *sent != `{"spec":{"forceRedeploymentReason":"x"}}` {
		t.Errorf("%s %s %v %s", asked.Method, asked.URL, asked.Header, *sent)
	}
}

func TestAnswers(t *testing.T) {
	refusal := func(reason, message string) string {
		raw, err := json.Marshal(map[string]string{"reason": reason, "message": message})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for name, c := range map[string]struct {
		code              int
		body              string
		notFound, refused bool
	}{
		"not there":      {404, refusal("NotFound", "etcdclusters not found"), true, false},
		"forbidden":      {403, refusal("Forbidden", "no"), false, true},
		"invalid":        {422, refusal("Invalid", "no"), false, true},
		"a redirect":     {302, "", false, false},
		"it is starting": {503, "", false, false},
		"no JSON":        {200, "<html>", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			config, _, _ := server(t, c.code, c.body)
			k, err := Open(config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.Cluster(t.Context())
			if err == nil || NotFound(err) != c.notFound || Refused(err) != c.refused || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestKubeconfigs(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"no YAML":          {"\tx", "no kubeconfig"},
		"empty":            {"{}", "names no cluster"},
		"another context":  {`{current-context: z, contexts: [{name: a, context: {cluster: k}}], clusters: [{name: k, cluster: {server: "https://x"}}]}`, `"z" names no cluster`},
		"plain http":       {`{current-context: a, contexts: [{name: a, context: {cluster: k}}], clusters: [{name: k, cluster: {server: "http://x"}}]}`, "no https"},
		"a program":        {`{current-context: a, contexts: [{name: a, context: {cluster: k, user: u}}], clusters: [{name: k, cluster: {server: "https://x"}}], users: [{name: u, user: {exec: {command: x}}}]}`, "runs a program"},
		"a CA that is not": {`{current-context: a, contexts: [{name: a, context: {cluster: k}}], clusters: [{name: k, cluster: {server: "https://x", certificate-authority-data: eA==}}]}`, "holds no certificate"},
		"a key that is not": {`{current-context: a, contexts: [{name: a, context: {cluster: k, user: u}}], clusters: [{name: k, cluster: {server: "https://x"}}],
			users: [{name: u, user: {client-certificate-data: eA==, client-key-data: c2VjcmV0}}]}`, "client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(c.config), t.TempDir())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("%v", err)
	}
}
