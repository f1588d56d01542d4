package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// newClient is the HTTP client of all object stores: bounded by limit in every phase, with ca (PEM) alone trusted where
// one is given. HTTP/1.1 on purpose: a connection for each transfer, so that one that hangs holds up no other.
func newClient(ca string, limit time.Duration) (*http.Client, error) {
	roots, err := rootsOf(ca)
	if err != nil {
		return nil, err
	}
	return clientOf(roots, limit), nil
}

// rootsOf is nil, which stands for the machine's own, where there is no ca.
func rootsOf(ca string) (*x509.CertPool, error) {
	if ca == "" {
		return nil, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		return nil, errors.New("the field \"ca\" of the credentials holds no PEM certificate")
	}
	return roots, nil
}

func clientOf(roots *x509.CertPool, limit time.Duration) *http.Client {
	base := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: limit, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:   limit,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   16,
		// The bytes are what was stored; a transparent decompression would change their number.
		DisableCompression: true,
	}
	return &http.Client{Transport: &watched{base: base, limit: limit}, CheckRedirect: followable}
}

// followable: what would become another method comes back as the answer that it is. A backup holds the CA's keys, so
// nothing leads from an encrypted store to one that is not.
func followable(req *http.Request, via []*http.Request) error {
	switch {
	case req.Response.StatusCode != http.StatusTemporaryRedirect && req.Response.StatusCode != http.StatusPermanentRedirect:
		return http.ErrUseLastResponse
	case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("the store sends requests on to %s://%s, which is not encrypted", req.URL.Scheme, req.URL.Host)
	case len(via) >= 5:
		return errors.New("the store sends requests on in a circle")
	}
	return nil
}

// stallError is ErrStalled with the limit. Its methods tell the providers' libraries not to try again: each try would
// wait as long.
type stallError struct{ limit time.Duration }

func (e *stallError) Error() string {
	return fmt.Sprintf("%v: no byte for %s", ErrStalled, e.limit)
}
func (e *stallError) Unwrap() error { return ErrStalled }

// NonRetriable is what Azure's library asks.
func (e *stallError) NonRetriable() {}

// CanceledError is what AWS's library asks.
func (e *stallError) CanceledError() bool { return true }

// unknownCA says what to do about a certificate that nobody here vouches for. To try again would not help.
type unknownCA struct{ error }

func (e *unknownCA) Error() string {
	return e.error.Error() + `; if the store has a CA of its own, put its certificate (PEM) into "ca" of the credentials file`
}
func (e *unknownCA) Unwrap() error       { return e.error }
func (e *unknownCA) NonRetriable()       {}
func (e *unknownCA) CanceledError() bool { return true }

// patience is how much longer than the limit a request may take, under this key in its context: where a server is known
// to work without sending anything.
type patience struct{}

func withPatience(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patience{}, d)
}

// watched ends a request during which no byte moves for the limit. What the kernel has taken counts as moved: on a very
// slow line its buffer (some MiB) must drain within the limit too.
type watched struct {
	base  http.RoundTripper
	limit time.Duration
}

func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	limit := w.limit
	if more, ok := req.Context().Value(patience{}).(time.Duration); ok {
		limit += more
	}
	stalled := &stallError{limit: limit}
	ctx, cancel := context.WithCancelCause(req.Context())
	dog := time.AfterFunc(limit, func() { cancel(stalled) })
	sending := &atomic.Bool{}
	sending.Store(true)
	req = req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &sentBody{ReadCloser: req.Body, moved: func() {
			if sending.Load() {
				dog.Reset(limit)
			}
		}}
	}
	resp, err := w.base.RoundTrip(req)
	sending.Store(false)
	dog.Stop()
	if err != nil {
		if errors.Is(context.Cause(ctx), ErrStalled) {
			err = stalled
		}
		if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
			err = &unknownCA{err}
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &receivedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, limit: limit}
	return resp, nil
}

// sentBody notes that the transport took bytes to send.
type sentBody struct {
	io.ReadCloser
	moved func()
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.moved()
	return b.ReadCloser.Read(p)
}

// receivedBody bounds each read. Between reads no time counts: a consumer may be slow.
type receivedBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // the body belongs to the request
	cancel context.CancelCauseFunc
	limit  time.Duration
}

func (b *receivedBody) Read(p []byte) (int, error) {
	stalled := &stallError{limit: b.limit}
	dog := time.AfterFunc(b.limit, func() { b.cancel(stalled) })
	n, err := b.ReadCloser.Read(p)
	dog.Stop()
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), ErrStalled) {
		err = stalled
	}
	return n, err
}

func (b *receivedBody) Close() error {
	// First: to close a body whose rest is unread may wait for it.
	b.cancel(nil)
	return b.ReadCloser.Close()
}
