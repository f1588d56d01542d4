package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"time"
)

// connectWithin bounds the TCP connection to a peer: a machine without power
// does not even refuse. Connections are accepted by the kernel, so a peer that
// is merely slow still answers within it.
const connectWithin = 500 * time.Millisecond

// Ask gets the membership from the member behind one endpoint: confirmed by a
// quorum if it can be had before the context ends, else the member's own view.
func Ask(ctx context.Context, endpoint string, config *tls.Config) (Membership, error) {
	if err := reachable(ctx, endpoint); err != nil {
		return Membership{}, err
	}
	c, err := Dial([]string{endpoint}, config)
	if err != nil {
		return Membership{}, err
	}
	defer func() { _ = c.Close() }()

	// Both at once: without a quorum the first may take all the time there is.
	type answer struct {
		m   Membership
		err error
	}
	ask := func(list func(context.Context) (Membership, error)) <-chan answer {
		ch := make(chan answer, 1)
		go func() {
			m, err := list(ctx)
			ch <- answer{m, err}
		}()
		return ch
	}
	confirmed, own := ask(c.Members), ask(c.OwnMembers)
	if a := <-confirmed; a.err == nil {
		return a.m, nil
	}
	a := <-own
	return a.m, a.err
}

func reachable(ctx context.Context, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	conn, err := (&net.Dialer{Timeout: connectWithin}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", endpoint, err)
	}
	_ = conn.Close()
	return nil
}
