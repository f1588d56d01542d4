package kubeapply

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServerURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://10.0.0.11:6443":    "https://10.0.0.11:6443",
		"https://fd00::11:6443":     "https://[fd00::11]:6443",
		"https://[fd00::11]:6443":   "https://[fd00::11]:6443",
		"https://api.example:6443":  "https://api.example:6443",
		"https://api.example":       "https://api.example",
		"https://2001:db8::1:a:443": "https://[2001:db8::1:a]:443",
	} {
		if got := ServerURL(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestKubeconfigRefused: what is wrong with a kubeconfig is said, before anything is sent anywhere.
func TestKubeconfigRefused(t *testing.T) {
	const context = "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"
	const cluster = "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n"
	for name, row := range map[string]struct{ content, says string }{
		"no YAML":                 {"}", "is no kubeconfig"},
		"no context":              {"current-context: a\n", "is not in it"},
		"no cluster":              {context, "names the cluster"},
		"no user":                 {context + cluster, "names the user"},
		"a plugin":                {context + cluster + "users: [{name: a, user: {exec: {command: x}}}]\n", "plugin"},
		"plain HTTP":              {context + "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: a, user: {token: x}}]\n", "https://"},
		"nobody is checked":       {context + "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}]\nusers: [{name: a, user: {token: x}}]\n", "insecure-skip-tls-verify"},
		"a CA that is none":       {context + "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: eA==}}]\nusers: [{name: a, user: {token: x}}]\n", "holds no certificate"},
		"a key that is not there": {context + cluster + "users: [{name: a, user: {client-certificate-data: eA==, client-key: none.key}}]\n", "client's key"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := FromKubeconfig(path, ""); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("%v, want %q", err, row.says)
			}
		})
	}
}
