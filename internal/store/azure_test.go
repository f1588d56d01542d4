package store

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// azureRefuser speaks as much of Azure's protocol as is needed to refuse. No Azure server runs here: what a transfer
// does that goes well is not tested.
func azureRefuser(t *testing.T, serve http.HandlerFunc) Credentials {
	t.Helper()
	srv := httptest.NewTLSServer(serve)
	t.Cleanup(srv.Close)
	for _, name := range []string{"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING", "AZURE_STORAGE_SAS_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AZURE_STORAGE_DOMAIN", srv.Listener.Addr().String())
	// Encrypted whatever the machine says: to plain HTTP the server here would not answer.
	t.Setenv("AZURE_STORAGE_PROTOCOL", "http")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	return Credentials{AzureAccount: "account", CA: string(ca)}
}

var azureKey = base64.StdEncoding.EncodeToString([]byte("hunter2hunter2hunter2"))

func TestAzureRefusals(t *testing.T) {
	for _, row := range []struct {
		status int
		code   string
		kind   error
		text   string
	}{
		{404, "BlobNotFound", ErrNotFound, ""},
		{404, "ContainerNotFound", nil, "no such bucket"},
		{404, "", nil, ""}, // not the store's own word
		{403, "AuthenticationFailed", ErrDenied, "secret does not fit"},
		{403, "AuthorizationPermissionMismatch", ErrDenied, "may list, read, write and delete"},
		{401, "NoAuthenticationInformation", ErrDenied, "credentials file"},
		{409, "ContainerBeingDeleted", nil, ""},
	} {
		t.Run(fmt.Sprint(row.status, row.code), func(t *testing.T) {
			c := azureRefuser(t, func(w http.ResponseWriter, _ *http.Request) {
				if row.code != "" {
					w.Header().Set("x-ms-error-code", row.code)
				}
				w.WriteHeader(row.status)
			})
			c.AzureKey = azureKey
			s, err := Open(t.Context(), Config{URL: "azblob://container/p", Credentials: c})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			_, stat := s.Stat(t.Context(), "a")
			_, get := s.Range(t.Context(), "a", 0, -1)
			var list error
			for _, err := range s.List(t.Context(), "") {
				list = err
			}
			w, err := s.Create(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write([]byte("1"))
			for op, err := range map[string]error{"Stat": stat, "Range": get, "List": list, "Put": w.Commit()} {
				if err == nil || row.kind != nil && !errors.Is(err, row.kind) || !strings.Contains(err.Error(), row.text) {
					t.Errorf("%s: %v; want %v, %q", op, err, row.kind, row.text)
				}
				if row.kind == nil && errors.Is(err, ErrNotFound) {
					t.Errorf("%s: a missing backup would be concluded from %v", op, err)
				}
				if strings.Contains(fmt.Sprintf("%+v", err), azureKey) {
					t.Errorf("%s shows the key", op)
				}
			}
		})
	}
}

func TestAzureStalls(t *testing.T) {
	c := azureRefuser(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c.AzureKey = azureKey
	s, err := Open(t.Context(), Config{URL: "azblob://container", Credentials: c, StallLimit: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, ErrStalled) {
		t.Fatal(err)
	}
}

func TestAzureCredentials(t *testing.T) {
	var seen *http.Request
	c := azureRefuser(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.WriteHeader(http.StatusForbidden)
	})
	const sas = "?sv=2024-11-04&sig=hunter2hunter2%3D"
	for _, row := range []struct {
		name   string
		change func(*Credentials)
		want   string // in the error of Open; empty: none
		sent   func(*http.Request) bool
	}{
		{"the account's key", func(c *Credentials) { c.AzureKey = azureKey }, "", func(r *http.Request) bool {
			return strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey account:") && !r.URL.Query().Has("sig")
		}},
		{"a shared access signature", func(c *Credentials) { c.AzureSAS = sas }, "", func(r *http.Request) bool {
			return r.Header.Get("Authorization") == "" && r.URL.Query().Get("sig") == "hunter2hunter2="
		}},
		{"the same without a question mark", func(c *Credentials) { c.AzureSAS = sas[1:] }, "", func(r *http.Request) bool {
			return r.URL.Query().Get("sig") == "hunter2hunter2="
		}},
		{"both", func(c *Credentials) { c.AzureKey, c.AzureSAS = azureKey, sas }, "one is enough", nil},
		{"a key that is none", func(c *Credentials) { c.AzureKey = "hunter2!!" }, "base64", nil},
		{"no account", func(c *Credentials) { c.AzureAccount = "" }, "azureAccount", nil},
	} {
		c := c
		row.change(&c)
		s, err := Open(t.Context(), Config{URL: "azblob://container", Credentials: c})
		if row.want != "" {
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v; want %q", row.name, err, row.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Stat(t.Context(), "a")
		if !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", row.name, err)
		}
		if seen == nil || !row.sent(seen) {
			t.Errorf("%s: not what was sent", row.name)
		}
		seen = nil
		_ = s.Close()
	}
}

// What was given up is not put together: only requests that show no object were sent.
func TestAzureAbort(t *testing.T) {
	var shown atomic.Int32
	c := azureRefuser(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Query().Get("comp") != "block" {
			shown.Add(1)
		}
		w.WriteHeader(http.StatusCreated)
	})
	c.AzureKey = azureKey
	s, err := Open(t.Context(), Config{URL: "azblob://container", Credentials: c})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, size := range []int{0, 10, partSize + 1} {
		w, err := s.Create(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
		if n := shown.Load(); n != 0 {
			t.Fatalf("%d bytes written and aborted: %d requests that show an object", size, n)
		}
		if w, err = s.Create(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil || shown.Swap(0) != 1 {
			t.Fatalf("%d bytes committed: %v, or not by one request", size, err)
		}
	}
}
