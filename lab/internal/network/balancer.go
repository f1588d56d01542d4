package network

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// How the balancer looks at API servers, and when it believes what it sees. One bad answer is a hiccup; two are an outage.
const (
	checkEvery = 500 * time.Millisecond
	checkLimit = time.Second
	badAnswers = 2
)

// Balancer forwards TCP connections to API servers that say they are ready, as a production load balancer in front of a kubeadm cluster does:
// each API server talks to its own etcd alone, so one that merely accepts connections may be of no use.
type Balancer struct {
	// Backends returns the addresses (host:port) that may be used now.
	Backends func() []string
	// Log is told when a backend comes or goes.
	Log func(format string, args ...any)

	mu    sync.Mutex
	seen  map[string]*backend
	turns int
}

type backend struct {
	ready bool
	bad   int
	conns map[net.Conn]struct{}
}

// Serve accepts until ctx ends.
func (b *Balancer) Serve(ctx context.Context, l net.Listener) error {
	b.seen = map[string]*backend{}
	go b.watch(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil //nolint:nilerr // closing the listener is how it ends
		}
		if err != nil {
			return fmt.Errorf("balancer: accept: %w", err)
		}
		go b.forward(c)
	}
}

func (b *Balancer) watch(ctx context.Context) {
	client := &http.Client{Timeout: checkLimit, Transport: &http.Transport{
		// Only "ready or not" is asked, of addresses that the lab made itself; the clients check the certificates.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		DisableKeepAlives: true,
	}}
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		current := b.Backends()
		var wg sync.WaitGroup
		for _, addr := range current {
			wg.Go(func() { b.note(addr, ready(ctx, client, addr)) })
		}
		wg.Wait()
		b.forget(current)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, c *http.Client, addr string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := c.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (b *Balancer) note(addr string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seen[addr]
	if s == nil {
		s = &backend{conns: map[net.Conn]struct{}{}}
		b.seen[addr] = s
	}
	if ok {
		s.bad = 0
		if !s.ready {
			s.ready = true
			b.Log("%s is ready", addr)
		}
		return
	}
	s.bad++
	if s.ready && s.bad >= badAnswers {
		s.ready = false
		b.Log("%s is not ready any more: closing its %d connections", addr, len(s.conns))
		// A node without power sends no reset: without this its clients would hang on until TCP gives up.
		for c := range s.conns {
			_ = c.Close()
		}
	}
}

func (b *Balancer) forget(current []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for addr, s := range b.seen {
		if !slices.Contains(current, addr) {
			for c := range s.conns {
				_ = c.Close()
			}
			delete(b.seen, addr)
			b.Log("%s is gone", addr)
		}
	}
}

// pick returns the ready backends, the next in turn first.
func (b *Balancer) pick() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for addr, s := range b.seen {
		if s.ready {
			all = append(all, addr)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	b.turns++
	i := b.turns % len(all)
	return append(all[i:], all[:i]...)
}

func (b *Balancer) forward(client net.Conn) {
	defer func() { _ = client.Close() }()
	for _, addr := range b.pick() {
		server, err := net.DialTimeout("tcp", addr, checkLimit)
		if err != nil {
			continue
		}
		if !b.track(addr, client, true) {
			_ = server.Close()
			continue
		}
		defer b.track(addr, client, false)
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
		_ = server.Close()
		return
	}
}

func (b *Balancer) track(addr string, c net.Conn, on bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seen[addr]
	if s == nil {
		return false
	}
	if on {
		s.conns[c] = struct{}{}
	} else {
		delete(s.conns, c)
	}
	return true
}
