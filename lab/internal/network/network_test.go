package network

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRules(t *testing.T) {
	alone, pair := Rules(nil), Rules([]string{"10.78.0.12", "10.78.0.13"})
	if strings.Contains(alone, "accept\n") || strings.Count(alone, "drop\n") != 4 {
		t.Errorf("a node that is cut off alone talks to somebody:\n%s", alone)
	}
	for _, want := range []string{"iifname eth0 ip saddr { 10.78.0.12, 10.78.0.13 } accept", "oifname eth0 ip daddr { 10.78.0.12, 10.78.0.13 } accept"} {
		if !strings.Contains(pair, want) {
			t.Errorf("no %q in:\n%s", want, pair)
		}
	}
	if strings.Contains(alone, "\"lo\"") || strings.Contains(alone, "policy drop") {
		t.Errorf("loopback is touched:\n%s", alone)
	}
}

// server is an API server that is ready or not.
type server struct {
	name  string
	ready atomic.Bool
	*httptest.Server
}

func newServer(t *testing.T, name string) *server {
	s := &server{name: name}
	s.ready.Store(true)
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/hang":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case !s.ready.Load():
			w.WriteHeader(http.StatusInternalServerError)
		default:
			_, _ = io.WriteString(w, name)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) addr() string { return s.Listener.Addr().String() }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20s for: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestBalancerUsesReadyServersAlone(t *testing.T) {
	a, b := newServer(t, "a"), newServer(t, "b")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	lb := &Balancer{Backends: func() []string { return []string{a.addr(), b.addr()} }, Log: t.Logf}
	go func() { ended <- lb.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // test servers
	}}
	get := func() string {
		res, err := client.Get("https://" + l.Addr().String() + "/")
		if err != nil {
			return ""
		}
		defer func() { _ = res.Body.Close() }()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	seen := map[string]bool{}
	eventually(t, "both servers to be used", func() bool { seen[get()] = true; return seen["a"] && seen["b"] })

	// A connection that hangs on a server which is not ready any more is closed: a node without power sends no reset.
	a.ready.Store(true)
	b.ready.Store(false)
	eventually(t, "b to be out of use", func() bool {
		for range 4 { // in turn, so b would be seen
			if get() != "a" {
				return false
			}
		}
		return true
	})
	hang := &http.Client{Transport: client.Transport}
	res, err := hang.Get("https://" + l.Addr().String() + "/hang")
	if err != nil {
		t.Fatal(err)
	}
	a.ready.Store(false)
	closed := make(chan struct{})
	go func() { defer close(closed); _, _ = io.Copy(io.Discard, res.Body); _ = res.Body.Close() }()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection to a server that is not ready any more is still open after 20s")
	}
	eventually(t, "no server to be used", func() bool { return get() == "" })
	b.ready.Store(true)
	eventually(t, "b to be used again", func() bool { return get() == "b" })
}
