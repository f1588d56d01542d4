package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcd/client"
)

// proxyWithin is shorter than kubeadm's time-out of a probe (15 s), so that the
// kubelet gets an answer with a reason.
const proxyWithin = 13 * time.Second

// serve answers the agent and the kubelet. That neither can be answered is no
// reason to keep etcd down: it is logged and tried again.
func (g *Guard) serve() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	probes := http.NewServeMux()
	probes.HandleFunc("GET /livez", g.livez)
	probes.HandleFunc("GET /readyz", g.readyz)
	go g.keepServing(ctx, "probes", probes, func() (net.Listener, error) {
		return net.Listen("tcp", g.o.ProbeAddress)
	})
	control := http.NewServeMux()
	control.HandleFunc("GET /status", g.serveStatus)
	control.HandleFunc("POST /poke", g.servePoke)
	go g.keepServing(ctx, "socket", control, g.listenSocket)
	return cancel
}

func (g *Guard) keepServing(ctx context.Context, what string, h http.Handler, listen func() (net.Listener, error)) {
	said := ""
	for ctx.Err() == nil {
		l, err := listen()
		if err == nil {
			said = ""
			s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14}
			unhook := context.AfterFunc(ctx, func() { _ = s.Close() })
			err = s.Serve(l)
			unhook()
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			g.o.Log.Warn("does not serve, tries again", "what", what, "error", said)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

// listenSocket takes the socket over: one that is there was left by a guard
// that ended, or belongs to one that is being ended. The socket is bound under
// another name and renamed: it never has other permissions, and it is never
// absent.
func (g *Guard) listenSocket() (net.Listener, error) {
	path := g.o.Paths.GuardSocket()
	if err := durable.MkdirAll(g.o.Paths.Run(), 0o700); err != nil {
		return nil, err
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(fresh); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// A later guard may have taken the name: it is not ours to remove.
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(fresh, 0o600); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (g *Guard) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(g.Status()) // the caller is gone: nobody to tell
}

func (g *Guard) servePoke(w http.ResponseWriter, _ *http.Request) {
	select {
	case g.poke <- struct{}{}:
	default: // one is pending
	}
	w.WriteHeader(http.StatusNoContent)
}

// livez is true as long as the guard is in control. Were a waiting or a held
// guard killed, the kubelet's back-off of up to five minutes would follow.
func (g *Guard) livez(w http.ResponseWriter, r *http.Request) {
	s := g.Status()
	if s.State != Running {
		say(w, http.StatusOK, "the guard is in control: "+string(s.State))
		return
	}
	code, body := g.askEtcd(r.Context(), "/livez")
	g.mu.Lock()
	sameChild := g.status.ChildPID == s.ChildPID
	g.answered = g.answered || (sameChild && code == http.StatusOK)
	answered := g.answered
	g.mu.Unlock()
	if !answered || !sameChild {
		// A start on a large database takes longer than any probe's patience.
		say(w, http.StatusOK, "etcd is starting: "+body)
		return
	}
	say(w, code, body)
}

// readyz is true only while etcd runs and says so itself.
func (g *Guard) readyz(w http.ResponseWriter, r *http.Request) {
	s := g.Status()
	if s.State != Running {
		say(w, http.StatusServiceUnavailable, fmt.Sprintf("%s: %s", s.State, s.Decision.Reason))
		return
	}
	code, body := g.askEtcd(r.Context(), "/readyz")
	say(w, code, body)
}

func say(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, strings.TrimRight(body, "\n")+"\n")
}

// askEtcd passes a probe on to etcd.
func (g *Guard) askEtcd(ctx context.Context, path string) (int, string) {
	ctx, cancel := context.WithTimeout(ctx, proxyWithin)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true}
	if strings.HasPrefix(g.flags.ProbeURL, "https:") {
		config, err := client.HealthcheckTLS(g.o.Paths.EtcdPKI())
		if err != nil {
			return http.StatusServiceUnavailable, err.Error()
		}
		t.TLSClientConfig = config
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.flags.ProbeURL+path, nil)
	if err != nil {
		return http.StatusServiceUnavailable, err.Error()
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return http.StatusServiceUnavailable, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if err != nil {
		return http.StatusServiceUnavailable, err.Error()
	}
	return resp.StatusCode, string(body)
}
