// Package kubelet stops, starts and looks at the node's kubelet through
// systemd's own socket, which works for root without a D-Bus daemon, and from
// inside a container that mounts /run/systemd.
package kubelet

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

const unit = "kubelet.service"

// jobLimit bounds one systemd job: a kubelet stops within seconds.
const jobLimit = 60 * time.Second

// State is active, inactive, failed or what else systemd calls it.
func State(ctx context.Context) (string, error) {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return "unknown", fmt.Errorf("ask systemd for the kubelet: %w", err)
	}
	defer c.Close()
	p, err := c.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return "unknown", fmt.Errorf("ask systemd for %s: %w", unit, err)
	}
	s, ok := p.Value.Value().(string)
	if !ok {
		return "unknown", fmt.Errorf("systemd's answer for %s is no string", unit)
	}
	return s, nil
}

// Start starts the kubelet, or does nothing where it runs.
func Start(ctx context.Context) error {
	return job(ctx, "start", (*dbus.Conn).StartUnitContext)
}

// Stop stops it; its containers go on running.
func Stop(ctx context.Context) error {
	return job(ctx, "stop", (*dbus.Conn).StopUnitContext)
}

// Restart stops and starts it: it forgets its container back-offs, and reads
// the manifests anew.
func Restart(ctx context.Context) error {
	return job(ctx, "restart", (*dbus.Conn).RestartUnitContext)
}

func job(ctx context.Context, verb string, run func(*dbus.Conn, context.Context, string, string, chan<- string) (int, error)) error {
	ctx, cancel := context.WithTimeout(ctx, jobLimit)
	defer cancel()
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("%s the kubelet: reach systemd: %w", verb, err)
	}
	defer c.Close()
	done := make(chan string, 1)
	if _, err := run(c, ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("%s the kubelet: %w", verb, err)
	}
	select {
	case res := <-done:
		if res != "done" {
			return fmt.Errorf("%s the kubelet: systemd says %q; see `journalctl -u kubelet`", verb, res)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s the kubelet: waiting for systemd's job: %w", verb, ctx.Err())
	}
}
