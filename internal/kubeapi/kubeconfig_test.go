package kubeapi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKubeconfigRefused: what is wrong with a kubeconfig is said, before anything is sent anywhere, and no secret with it.
func TestKubeconfigRefused(t *testing.T) {
	const context = "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"
	const cluster = "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n"
	const someone = "users: [{name: a, user: {token: secret}}]\n"
	server := func(fields string) string {
		return context + "clusters: [{name: a, cluster: {" + fields + "}}]\n" + someone
	}
	who := func(fields string) string { return context + cluster + "users: [{name: a, user: {" + fields + "}}]\n" }
	for name, row := range map[string]struct{ content, says string }{
		"no YAML":                   {"}", "is no kubeconfig"},
		"no YAML, with a token":     {"token: secret\n\tx", "is no kubeconfig"},
		"empty":                     {"{}", `current context "" is not in it`},
		"no context":                {"current-context: a\n", "is not in it"},
		"another context":           {"current-context: z\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n" + cluster + someone, `"z" is not in it`},
		"no cluster":                {context, "names the cluster"},
		"no user":                   {context + cluster, "names the user"},
		"a user that is not named":  {"current-context: a\ncontexts: [{name: a, context: {cluster: a}}]\n" + cluster + someone, `names the user ""`},
		"a plugin":                  {who("exec: {command: x}"), "plugin"},
		"a provider of before":      {who("auth-provider: {name: x}"), "plugin"},
		"plain HTTP":                {server("server: 'http://127.0.0.1:1'"), "https://"},
		"no host":                   {server("server: 'https://'"), "https://"},
		"no server":                 {server("tls-server-name: x"), "https://"},
		"nobody is checked":         {server("server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true"), "insecure-skip-tls-verify"},
		"a CA that is none":         {server("server: 'https://127.0.0.1:1', certificate-authority-data: eA=="), "holds no certificate"},
		"a CA that is not encoded":  {server("server: 'https://127.0.0.1:1', certificate-authority-data: '%'"), "the certificate authority"},
		"a CA that is not there":    {server("server: 'https://127.0.0.1:1', certificate-authority: none.crt"), "none.crt"},
		"a proxy that is none":      {server("server: 'https://127.0.0.1:1', proxy-url: 'secret'"), "proxy-url"},
		"a certificate that is not": {who("client-certificate-data: eA==, client-key-data: c2VjcmV0"), "client's certificate"},
		"a key that is not there":   {who("client-certificate-data: eA==, client-key: none.key"), "client's key"},
		"a token that is not there": {who("tokenFile: none"), "the token"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(path); err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q", err, row.says)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("%v", err)
	}
}
