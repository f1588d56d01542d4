package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
)

// ErrNoGuard: no guard listens. A hold that was written is in force all the
// same, for the next guard that starts; whether an etcd still runs, only the
// container runtime can say.
var ErrNoGuard = errors.New("no guard answers on its socket")

// HeldError: another hold is in force.
type HeldError struct{ Hold node.Hold }

func (e *HeldError) Error() string {
	return fmt.Sprintf("etcd is held by %s since %s (%s): finish or abort that first", e.Hold.ID, e.Hold.Since.Format(time.RFC3339), e.Hold.Reason)
}

// Client talks to the guard of this node.
type Client struct {
	http http.Client
	path string
}

// Dial makes a client; nothing is connected yet.
func Dial(p node.Paths) *Client {
	path := p.GuardSocket()
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}
	return &Client{http: http.Client{Transport: t, Timeout: 5 * time.Second}, path: path}
}

// Status is what the guard does now. ErrNoGuard if none listens.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	body, err := c.call(ctx, http.MethodGet, "/status")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("the guard's status: %w", err)
	}
	return s, nil
}

// Poke makes the guard look again at once.
func (c *Client) Poke(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "/poke")
	return err
}

func (c *Client) call(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://guard"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%s: %w", c.path, ErrNoGuard)
	case err != nil:
		return nil, fmt.Errorf("ask the guard: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("ask the guard: %w", err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("ask the guard: %s: %s", resp.Status, body)
	}
	return body, nil
}

// HoldAndWait stops etcd on this node and keeps it stopped, over restarts of
// the guard and of the node, until ReleaseAndPoke with the same id. It returns
// once etcd is gone. With ErrNoGuard the hold is in force, but whether an etcd
// runs is not known here: ask the container runtime. The same hold again is
// no error (I20); another's is a *HeldError.
func HoldAndWait(ctx context.Context, p node.Paths, h node.Hold) (Status, error) {
	if h.ID == "" {
		return Status{}, errors.New("hold etcd: the hold has no id")
	}
	if err := placeHold(p, h); err != nil {
		return Status{}, fmt.Errorf("hold etcd: %w", err)
	}
	c := Dial(p)
	if err := c.Poke(ctx); err != nil {
		return Status{}, fmt.Errorf("hold %s is in force: %w", h.ID, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for heard := time.Now(); ; {
		s, err := c.Status(ctx)
		if !errors.Is(err, ErrNoGuard) {
			heard = time.Now()
		} else if time.Since(heard) > 2*time.Second {
			// Its container ended: waiting longer is up to the caller.
			return s, fmt.Errorf("hold %s is in force: %w", h.ID, err)
		}
		if err == nil && s.State == Held && s.HoldID == h.ID {
			return s, nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("it is %s (%s)", s.State, s.Decision.Reason)
			}
			return s, fmt.Errorf("hold %s is in force, but the guard has not confirmed it: %w: %w", h.ID, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// placeHold writes hold.json. Of two that come at once, one wins: the file is
// put in place only where none is.
func placeHold(p node.Paths, h node.Hold) error {
	if err := durable.MkdirAll(p.State(), 0o700); err != nil {
		return err
	}
	for range 3 {
		there, err := durable.ReadJSON[node.Hold](p.Hold())
		switch {
		case err == nil && there.ID != h.ID:
			return &HeldError{there}
		case err == nil && there.Fast == h.Fast:
			return nil
		case err == nil:
			h.Since = there.Since
			return durable.WriteJSON(p.Hold(), h, 0o600)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("a hold is in force that cannot be read; if nothing holds etcd, remove %s: %w", p.Hold(), err)
		}
		fresh := filepath.Join(p.State(), ".hold."+token()+".json")
		if err := durable.WriteJSON(fresh, h, 0o600); err != nil {
			return err
		}
		if err := durable.RenameNew(fresh, p.Hold()); err == nil || !errors.Is(err, fs.ErrExist) {
			return err
		}
		_ = os.Remove(fresh)
	}
	return fmt.Errorf("%s comes and goes: is something else holding and releasing etcd?", p.Hold())
}

// ReleaseAndPoke ends the hold with this id; the guard then decides anew. No
// hold at all is no error; another's is a *HeldError, and stays. It does not
// wait for etcd. With ErrNoGuard the hold is ended, and nobody is there to
// start etcd now.
func ReleaseAndPoke(ctx context.Context, p node.Paths, id string) error {
	h, err := durable.ReadJSON[node.Hold](p.Hold())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("release etcd: if nothing holds it, remove %s: %w", p.Hold(), err)
	case h.ID != id:
		return fmt.Errorf("release etcd: %w", &HeldError{h})
	default:
		if err := os.Remove(p.Hold()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release etcd: %w", err)
		}
		if err := durable.SyncDir(p.State()); err != nil {
			return fmt.Errorf("release etcd: %w", err)
		}
	}
	if err := Dial(p).Poke(ctx); err != nil {
		return fmt.Errorf("etcd is released: %w", err)
	}
	return nil
}
