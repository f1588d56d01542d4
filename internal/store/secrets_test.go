package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

// all credentials, each with "hunter" in what must not be seen.
var all = Credentials{
	AccessKeyID: "AKIAhunter01", SecretAccessKey: "hunter/02+secret==", SessionToken: "hunter03token", CA: "hunter04ca",
	GoogleJSON:   `{"type":"service_account","private_key":"-----BEGIN\nhunter05key","refresh_token":"hunter06","client_secret":"hunter07"}`,
	AzureAccount: "hunter08account", AzureKey: "aHVudGVyhunter09==", AzureSAS: "?sv=2024&sig=hunter10%2Fsig%3D",
}

// P29: no verb and no log shows a credential, wherever it is.
func TestCredentialsArePrintedNowhere(t *testing.T) {
	cfg := Config{URL: "s3://bucket?endpoint=https://127.0.0.1:1", Credentials: all}
	cfg.Credentials.CA = ""
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	w, err := s.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	for _, v := range []any{
		all, &all, cfg, &cfg, s, &s, w, []Credentials{all}, map[string]Config{"a": cfg}, struct{ C Config }{cfg}, []any{s, w},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "hunter") || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", "hunter")) {
				t.Errorf("%s of %T: %s", verb, v, text)
			}
		}
		var log bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			switch v.(type) {
			case Credentials, *Credentials, Config, *Config, Store:
				slog.New(h).Info("x", "v", v)
			}
		}
		if strings.Contains(log.String(), "hunter") {
			t.Errorf("logged %T: %s", v, log.String())
		}
	}
	if text := fmt.Sprint(all); !strings.Contains(text, "secretAccessKey") || !strings.Contains(text, "azureSAS") {
		t.Errorf("which credentials there are is worth to know: %s", text)
	}
	if text := fmt.Sprint(Credentials{}); text != "[no credentials]" {
		t.Error(text)
	}
}

// The credentials file is written by encoding them.
func TestCredentialsAreEncodedWhole(t *testing.T) {
	data, err := json.Marshal(all) //nolint:gosec // made up
	if err != nil {
		t.Fatal(err)
	}
	var back Credentials
	if err := json.Unmarshal(data, &back); err != nil || back != all {
		t.Fatalf("%v", err)
	}
}

func TestRedact(t *testing.T) {
	s := secretsOf(all)
	for _, text := range []string{
		all.AccessKeyID, all.SecretAccessKey, url.QueryEscape(all.SecretAccessKey), url.PathEscape(all.SecretAccessKey),
		all.SessionToken, all.GoogleJSON, fmt.Sprintf("%q", all.GoogleJSON), "-----BEGIN\nhunter05key", fmt.Sprintf("%q", "-----BEGIN\nhunter05key"),
		"hunter06", "hunter07", all.AzureKey, all.AzureSAS, "sv=2024&sig=hunter10%2Fsig%3D", "hunter10/sig=", "sig=hunter10%2Fsig%3D",
	} {
		if got := s.redact("before " + text + " after"); strings.Contains(got, "hunter") || !strings.Contains(got, "before ") || !strings.Contains(got, " after") {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := secretsOf(Credentials{SecretAccessKey: "key"}).redact("the key of a bucket"); got != "the key of a bucket" {
		t.Errorf("a word of three letters blanked out: %q", got)
	}
	if got := secretsOf(Credentials{}).redact("text"); got != "text" {
		t.Error(got)
	}
}
