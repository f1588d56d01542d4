package store

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func caOf(srv *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
}

func client(t *testing.T, ca string, limit time.Duration) *http.Client {
	t.Helper()
	c, err := newClient(ca, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// A backup holds the CA's keys: no answer leads it away from encryption.
func TestNoRedirectToPlainHTTP(t *testing.T) {
	var got atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	t.Cleanup(plain.Close)
	var status atomic.Int32
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL, int(status.Load()))
	}))
	t.Cleanup(secure.Close)
	c := client(t, caOf(secure), time.Minute)
	put := func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, secure.URL, bytes.NewReader([]byte("secret")))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return resp, err
	}
	for _, code := range []int32{http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		status.Store(code)
		if _, err := put(); err == nil || !strings.Contains(err.Error(), "not encrypted") {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, code := range []int32{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther} {
		status.Store(code)
		if resp, err := put(); err != nil || resp.StatusCode != int(code) {
			t.Errorf("%d: %v, %v", code, resp, err)
		}
	}
	if n := got.Load(); n != 0 {
		t.Fatalf("%d requests went out unencrypted", n)
	}
}

func TestClientTrustsTheGivenCAAlone(t *testing.T) {
	a := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(a.Close)
	resp, err := client(t, caOf(a), time.Minute).Get(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, err := client(t, "", time.Minute).Get(a.URL); err == nil || !strings.Contains(err.Error(), `"ca" of the credentials file`) {
		t.Fatal(err)
	}
	if _, err := newClient("no certificate", time.Minute); err == nil {
		t.Fatal("took no certificate for one")
	}
}

// Without the limit none of these would end.
func TestStallsEnd(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/headers":
		case "/body":
			_, _ = w.Write([]byte("some"))
			_ = http.NewResponseController(w).Flush()
		case "/upload":
			_, _ = io.ReadFull(r.Body, make([]byte, 10))
		}
		<-release
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	c := client(t, "", 200*time.Millisecond)
	if _, err := c.Get(srv.URL + "/headers"); !errors.Is(err, ErrStalled) {
		t.Errorf("no answer: %v", err)
	}
	resp, err := c.Get(srv.URL + "/body")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, ErrStalled) {
		t.Errorf("half an answer: %v", err)
	}
	_ = resp.Body.Close()
	if _, err := c.Post(srv.URL+"/upload", "", bytes.NewReader(make([]byte, 64<<20))); !errors.Is(err, ErrStalled) {
		t.Errorf("a body that is not taken: %v", err)
	}
}
