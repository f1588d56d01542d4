package s3test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"clusteretcd.io/ceo/internal/store"
)

// Proxy stands before a server and passes everything on as it is (a request's signature covers the host's name, so it
// keeps that), but for the troubles that are set.
type Proxy struct {
	endpoint string
	server   *Server
	closed   chan struct{}

	mu       sync.Mutex
	troubles []Trouble
	met      int
}

// Trouble is what happens to the requests that it matches. pass lets the real server answer.
type Trouble struct {
	Match func(*http.Request) bool // nil: every request
	Do    func(p *Proxy, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter, *http.Request))
}

// NewProxy runs one until the end of the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{endpoint: "http://" + l.Addr().String(), server: s, closed: make(chan struct{})}
	srv := &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)} //nolint:gosec // loopback, for one test
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		close(p.closed)
		_ = srv.Close()
	})
	return p
}

// Config leads to the same bucket over the proxy.
func (p *Proxy) Config(cfg store.Config) store.Config {
	cfg.URL = strings.Replace(cfg.URL, p.server.Endpoint, p.endpoint, 1)
	cfg.Credentials.CA = ""
	return cfg
}

// Set replaces the troubles; of several that match, the first counts.
func (p *Proxy) Set(troubles ...Trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubles, p.met = troubles, 0
}

// Met counts the requests that met a trouble since Set.
func (p *Proxy) Met() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.met
}

func (p *Proxy) trouble(r *http.Request) *Trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.troubles {
		if x := &p.troubles[i]; x.Match == nil || x.Match(r) {
			p.met++
			return x
		}
	}
	return nil
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if x := p.trouble(r); x != nil {
		x.Do(p, w, r, func(w http.ResponseWriter, r *http.Request) { p.pass(w, r, nil) })
		return
	}
	p.pass(w, r, nil)
}

func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, change func(*http.Response) error) {
	to, err := url.Parse(p.server.Endpoint)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	rp := &httputil.ReverseProxy{
		FlushInterval: -1, // what comes before a trouble arrives
		Transport:     p.server.client.Transport,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(to)
			pr.Out.Host = pr.In.Host
		},
		ModifyResponse: change,
		ErrorLog:       log.New(io.Discard, "", 0),
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	rp.ServeHTTP(w, r)
}

// wait until the client gives up or the test ends.
func (p *Proxy) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-p.closed:
	}
}

// Refuse answers in the server's place, with an error as S3 writes it.
func Refuse(status int, code string) Trouble {
	return Trouble{Do: func(_ *Proxy, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter, *http.Request)) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>refused by the test</Message></Error>", code)
	}}
}

// Silence: the server does what was asked, and its answer never comes.
func Silence() Trouble {
	return Trouble{Do: func(p *Proxy, _ http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter, *http.Request)) {
		pass(&nowhere{}, r)
		p.wait(r.Context())
		panic(http.ErrAbortHandler)
	}}
}

// LoseAnswer: the server does what was asked, and the connection breaks before the answer.
func LoseAnswer() Trouble {
	return Trouble{Do: func(_ *Proxy, _ http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter, *http.Request)) {
		pass(&nowhere{}, r)
		panic(http.ErrAbortHandler)
	}}
}

// CutRequest breaks the connection after so many bytes of the request's body; the server sees the same.
func CutRequest(at int64) Trouble {
	return Trouble{Do: func(_ *Proxy, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter, *http.Request)) {
		r.Body = &brokenBody{ReadCloser: r.Body, left: at, then: func() error { return errors.New("cut") }}
		pass(w, r)
	}}
}

// StallRequest takes so many bytes of the request's body and then no more.
func StallRequest(at int64) Trouble {
	return Trouble{Do: func(p *Proxy, _ http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter, *http.Request)) {
		_, _ = io.CopyN(io.Discard, r.Body, at)
		p.wait(r.Context())
		panic(http.ErrAbortHandler)
	}}
}

// CutResponse breaks the connection after so many bytes of the answer's body.
func CutResponse(at int64) Trouble {
	return response(func(_ *Proxy, resp *http.Response) {
		resp.Body = &brokenBody{ReadCloser: resp.Body, left: at, then: func() error { return errors.New("cut") }}
	})
}

// StallResponse gives so many bytes of the answer's body and then no more, with the connection open.
func StallResponse(at int64) Trouble {
	return response(func(p *Proxy, resp *http.Response) {
		ctx := resp.Request.Context()
		resp.Body = &brokenBody{ReadCloser: resp.Body, left: at, then: func() error {
			p.wait(ctx)
			return errors.New("stalled")
		}}
	})
}

// EndResponse ends the answer after so many bytes as if that were all, without having said how many would come.
func EndResponse(at int64) Trouble {
	return response(func(_ *Proxy, resp *http.Response) {
		resp.ContentLength = -1
		resp.Header.Del("Content-Length")
		resp.Body = &brokenBody{ReadCloser: resp.Body, left: at, then: func() error { return io.EOF }}
	})
}

// SayLength announces the answer's length as other than it is, by delta. Of more, the connection ends early; of less, the
// answer is cut to what was said.
func SayLength(delta int64) Trouble {
	return response(func(_ *Proxy, resp *http.Response) {
		said := resp.ContentLength + delta
		resp.ContentLength = said
		resp.Header.Set("Content-Length", strconv.FormatInt(said, 10))
		resp.Body = &brokenBody{ReadCloser: resp.Body, left: said, then: func() error { return io.EOF }}
	})
}

func response(change func(*Proxy, *http.Response)) Trouble {
	return Trouble{Do: func(p *Proxy, w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter, *http.Request)) {
		p.pass(w, r, func(resp *http.Response) error {
			change(p, resp)
			return nil
		})
	}}
}

// For restricts a trouble to the requests that match.
func (x Trouble) For(match func(*http.Request) bool) Trouble {
	x.Match = match
	return x
}

// Once restricts it to the first that match.
func (x Trouble) Once() Trouble {
	match, used := x.Match, false
	// Called with the proxy's lock held.
	x.Match = func(r *http.Request) bool {
		if used || match != nil && !match(r) {
			return false
		}
		used = true
		return true
	}
	return x
}

// Method matches the requests with an HTTP method that have all the query parameters.
func Method(method string, parameters ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		if r.Method != method {
			return false
		}
		for _, name := range parameters {
			if !r.URL.Query().Has(name) {
				return false
			}
		}
		return true
	}
}

// brokenBody gives left bytes and then whatever then says.
type brokenBody struct {
	io.ReadCloser
	left int64
	then func() error
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.then()
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// nowhere takes an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header {
	if n.header == nil {
		n.header = http.Header{}
	}
	return n.header
}
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}
