package kubeapi

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const path = "/apis/x/v1/things/one"

// serve answers with a code and a body, and keeps what it was asked. Its kubeconfig names the CA and the token by files
// beside it.
func serve(t *testing.T, code int, body string) (config string, asked *http.Request, sent *string) {
	t.Helper()
	asked, sent = &http.Request{}, new(string)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		*asked, *sent = *r, string(raw)
		if code == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	config = filepath.Join(t.TempDir(), "admin.conf")
	for name, content := range map[string]string{
		"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})),
		"token":  "secret-token\n",
		"admin.conf": `{current-context: a, contexts: [{name: b, context: {cluster: x}}, {name: a, context: {cluster: k, user: u}}],
clusters: [{name: k, cluster: {server: "` + s.URL + `/", certificate-authority: ca.crt}}], users: [{name: u, user: {tokenFile: token}}]}`,
	} {
		write(t, config, name, content)
	}
	return config, asked, sent
}

// write puts a file beside the kubeconfig.
func write(t *testing.T, config, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, config string) *Client {
	t.Helper()
	c, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMerge(t *testing.T) {
	config, asked, sent := serve(t, 200, `{"metadata":{"generation":7}}`)
	c := open(t, config)
	var got struct{ Metadata struct{ Generation int } }
	if err := c.Merge(t.Context(), path, map[string]any{"spec": map[string]any{"a": "x", "b": nil}}, "me", &got); err != nil || got.Metadata.Generation != 7 {
		t.Fatalf("%+v %v", got, err)
	}
	if asked.Method != "PATCH" || asked.URL.Path != path || asked.URL.Query().Get("fieldManager") != "me" || asked.URL.Query().Get("fieldValidation") != "Strict" ||
		asked.Header.Get("Content-Type") != "application/merge-patch+json" ||
		asked.Header.Get("Authorization") != "Bearer secret-token" || *sent != `{"spec":{"a":"x","b":null}}` {
		t.Errorf("%s %s %v %s", asked.Method, asked.URL, asked.Header, *sent)
	}

	// The kubelet replaces a token before it runs out.
	write(t, config, "token", "the-next")
	if err := c.Merge(t.Context(), path, nil, "me", nil); err != nil || asked.Header.Get("Authorization") != "Bearer the-next" {
		t.Errorf("%v %v", err, asked.Header)
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
		says              string
	}{
		"not there":      {404, refusal("NotFound", "things not found"), true, false, "404: things not found"},
		"nobody":         {401, refusal("Unauthorized", "no"), false, true, "401: no"},
		"forbidden":      {403, refusal("Forbidden", "no"), false, true, "403: no"},
		"invalid":        {422, refusal("Invalid", "no"), false, true, "422: no"},
		"a redirect":     {302, "", false, false, "answers 302"},
		"it is starting": {503, "not yet", false, false, "503: not yet"},
		"no JSON":        {200, "<html>", false, false, path},
	} {
		t.Run(name, func(t *testing.T) {
			config, asked, _ := serve(t, c.code, c.body)
			err := open(t, config).Get(t.Context(), path, &struct{}{})
			if err == nil || errors.Is(err, ErrNotFound) != c.notFound || errors.Is(err, ErrRefused) != c.refused ||
				!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("%v, want %q", err, c.says)
			}
			if asked.URL.Path != path {
				t.Errorf("it followed to %s", asked.URL)
			}
		})
	}
}
