package agent

import (
	"context"
	"time"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// certificatesEvery is often enough: one is renewed long before its end.
const certificatesEvery = 12 * time.Hour

// renewCertificates sees to the agent's own certificates, from the CA on disk:
// a node that was off for a year has to be asked, and recovered, too (P9). A CA
// key that is kept elsewhere is no reason not to serve with what is there.
func renewCertificates(o Options, c node.Config) {
	now := time.Now()
	for _, ensure := range []func() (string, error){
		func() (string, error) { return pki.EnsureAgent(o.Paths, c.Name, c.Address, now) },
		func() (string, error) { return pki.EnsureAdmin(o.Paths, c.Name, now) },
	} {
		why, err := ensure()
		if err != nil {
			o.Log.Warn("the agent's certificates are not renewed", "why", why, "error", err)
		} else if why != "" {
			o.Log.Info("certificate issued", "why", why)
		}
	}
}

func (a *Agent) watchCertificates(ctx context.Context, o Options) error {
	t := time.NewTicker(certificatesEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			renewCertificates(o, a.Config())
		}
	}
}
