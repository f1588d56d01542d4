package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/revision"
	"clusteretcd.io/ceo/internal/staticpod"
)

// addressEvery is how often a node looks whether its address is still its own.
const addressEvery = 5 * time.Second

// interfaces are the addresses of this node's interfaces as all are compared, sorted; none where they cannot be told.
func (o Options) interfaces() []string {
	ask := o.Interfaces
	if ask == nil {
		ask = interfaceAddresses
	}
	all, err := ask()
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range all {
		if a := plainAddress(s); a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

func interfaceAddresses() ([]string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of the interfaces: %w", err)
	}
	var out []string
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().String())
		}
	}
	return out, nil
}

// instead are the addresses that the agent is to be asked at besides its own: all that are there while its own is not.
func instead(configured string, interfaces []string) []string {
	if len(interfaces) == 0 || slices.Contains(interfaces, plainAddress(configured)) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(interfaces), func(a string) bool { return !usable(a) })
}

// addressWatch is what is remembered from look to look.
type addressWatch struct {
	to, said string
	seen     int
	// lost is how often in a row the lock could not be had while etcd here served nobody.
	lost int
	// placed: etcd's manifest was changed.
	placed bool
	// complained is what was said of certificates.
	complained map[string]string
}

// lockLimit bounds one try to have the lock, to look at all members and to place the manifest.
const lockLimit = 40 * time.Second

// watchAddress follows a change of the node's address for as long as the agent runs.
func (a *Agent) watchAddress(ctx context.Context) error {
	t := time.NewTicker(addressEvery)
	defer t.Stop()
	var w addressWatch
	for {
		a.followAddress(ctx, &w)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// followAddress looks once, and acts. What fails is done again at the next look: each step asks what is done already.
func (a *Agent) followAddress(ctx context.Context, w *addressWatch) {
	f, err := a.addressFacts()
	if err != nil {
		a.sayAddress(w, "this node's address is not looked at", err.Error())
		return
	}
	f.seenTo, f.seen = w.to, w.seen
	d := decideAddress(f)
	if d.to != w.to {
		w.to, w.seen = d.to, 0
	}
	if d.to != "" {
		w.seen++
	}
	if d.kind == addressKeep {
		w.said = ""
		return
	}
	if d.gone {
		// So that the operator can ask, and say where the node is.
		a.pkiFiles.Lock()
		w.complained = renewCertificates(a.options, a.Config(), a.life(), w.complained)
		a.pkiFiles.Unlock()
	}
	if d.kind == addressWait {
		a.sayAddress(w, "this node's address", d.reason)
		return
	}
	switch err := a.readdress(ctx, w, f, d); {
	case err != nil && ctx.Err() == nil:
		a.sayAddress(w, "this node has another address, and is not there yet: tried again", d.reason+": "+err.Error())
	case err == nil:
		if w.placed {
			a.kickKubelet(ctx)
		}
		a.log.Info("this node has another address", "from", f.configured, "to", d.to, "why", d.reason)
		*w = addressWatch{}
	}
}

// sayAddress logs what is new.
func (a *Agent) sayAddress(w *addressWatch, what, why string) {
	if w.said != why {
		w.said = why
		a.log.Warn(what, "why", why)
	}
}

func (a *Agent) addressFacts() (addressFacts, error) {
	c := a.Config()
	f := addressFacts{configured: plainAddress(c.Address), peer: hostAddress(c.PeerURL), interfaces: a.options.interfaces()}
	s, _, err := node.LoadSettings(a.paths)
	if err != nil {
		// Its word is not known, which is not the same as none (I23).
		return f, err
	}
	f.operator = plainAddress(s.NodeAddress)
	raw, err := os.ReadFile(filepath.Join(a.paths.Manifests(), staticpod.EtcdFile))
	if err == nil {
		s, err := a.seen.served.get(raw, servedBy)
		if err != nil {
			return f, err
		}
		f.served, f.listens = s.address, s.listens
	} else if !errors.Is(err, os.ErrNotExist) {
		return f, fmt.Errorf("etcd's manifest: %w", err)
	}
	if raw, err := os.ReadFile(filepath.Join(a.paths.Manifests(), staticpod.APIServerFile)); err == nil {
		at, err := a.seen.apiServer.get(raw, func(raw []byte) (string, error) {
			pod, err := staticpod.Parse(raw)
			if err != nil {
				return "", err
			}
			return plainAddress(staticpod.FlagsOf(pod)["advertise-address"]), nil
		})
		if err == nil {
			f.apiServer = at
		}
	}
	return f, nil
}

// servedAddress is where etcd's manifest has etcd, and whether it listens there, too.
type servedAddress struct {
	address string
	listens bool
}

func servedBy(manifest []byte) (servedAddress, error) {
	pod, err := staticpod.Parse(manifest)
	if err != nil {
		return servedAddress{}, fmt.Errorf("etcd's manifest: %w", err)
	}
	flags, err := staticpod.EtcdFlags(pod)
	if err != nil {
		return servedAddress{}, err
	}
	s := servedAddress{address: hostAddress(flags.AdvertiseClientURLs[0])}
	s.listens = slices.ContainsFunc(append(flags.ListenClientURLs, flags.ListenPeerURLs...), func(u string) bool { return hostAddress(u) == s.address })
	return s, nil
}

// hostAddress is the host of a URL where it is an address; "" for a name.
func hostAddress(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return plainAddress(u.Hostname())
}

// readdress takes the other address: certificates that name it first, then what the node says of itself, then etcd. A
// crash between any two leaves a node that goes on from there (I20): the next look finds what is still to be done.
func (a *Agent) readdress(ctx context.Context, w *addressWatch, f addressFacts, d addressDecision) error {
	if why := decidePlacing(a.placing("")); why != "" {
		return errors.New(why)
	}
	a.act.Lock()
	defer a.act.Unlock()
	if why := decidePlacing(a.placing("")); why != "" {
		return errors.New(why) // a recovery has begun meanwhile (P17)
	}
	if err := a.certificatesFor(f, d.to); err != nil {
		return err
	}
	moved, err := a.update(func(c node.Config) (node.Config, bool, error) {
		c, changed := movedTo(c, d.to)
		return c, changed, nil
	})
	if err != nil {
		return err
	}
	if moved {
		a.log.Info("node.json has this node's new address", "address", d.to)
	}
	if f.served == "" || f.served == d.to {
		return nil // no etcd in service here, or it is there already
	}
	return a.moveEtcd(ctx, w, f.served, d.to)
}

// movedTo is what a node says of itself at another address. A URL at a further address of the node stays.
func movedTo(c node.Config, to string) (node.Config, bool) {
	before := c
	from := plainAddress(c.Address)
	c.Address = to
	c.PeerURL, _ = staticpod.MoveURL(c.PeerURL, from, to)
	c.ClientURL, _ = staticpod.MoveURL(c.ClientURL, from, to)
	return c, before.Address != c.Address || before.PeerURL != c.PeerURL || before.ClientURL != c.ClientURL
}

// certificatesFor sees to it that every certificate that is served here names the address. Names are added only.
func (a *Agent) certificatesFor(f addressFacts, to string) error {
	a.pkiFiles.Lock()
	defer a.pkiFiles.Unlock()
	c := a.Config()
	also := []string{f.configured}
	if f.configured == to {
		also = nil // node.json says so already
	}
	var bad []error
	for _, r := range pki.Renew(a.paths, pki.Host{Name: c.Name, Address: to, Also: append(also, instead(f.configured, f.interfaces)...), Life: a.life(), Now: time.Now()}) {
		if r.Err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", r.Name, r.Err))
			continue
		}
		a.log.Info("certificate issued", "certificate", r.Name, "why", r.Why)
	}
	if err := errors.Join(bad...); err != nil {
		return fmt.Errorf("certificates that name %s have to come first, and etcd stays where it is: %w; where etcd's ca.key is kept elsewhere, issue them by hand", to, err)
	}
	return nil
}

// moveEtcd has etcd's manifest at the new address, under the lock and after a look at all members like any other restart:
// an etcd whose address is gone may still vote, as it reaches the others by itself (I6).
func (a *Agent) moveEtcd(ctx context.Context, w *addressWatch, from, to string) error {
	plan, err := a.shelf().PlanAddress(from, to)
	if err != nil || plan.Already {
		return err
	}
	place := func(context.Context) error { return a.shelf().PlaceAddress(plan, revision.Now()) }
	who := fmt.Sprintf("a restart of etcd on %s, which is at %s now", a.Config().Name, to)
	locked, cancel := context.WithTimeout(ctx, lockLimit)
	err = a.restartUnderLock(locked, who, false, place)
	cancel()
	lost := err != nil && lockIsLost(err) && ctx.Err() == nil
	if !lost {
		w.lost = 0
	} else {
		if why := a.mustWaitUnlocked(ctx); why != "" {
			w.lost = 0
			return fmt.Errorf("%s, and the lock could not be had: nothing was placed: %w", why, err)
		}
		// It serves nobody, so there is no vote to lose; and without it there may be no quorum for the lock. Once says
		// little: a busy machine does not answer either (I23).
		if w.lost++; w.lost < readdressAfter {
			return fmt.Errorf("the lock could not be had %d of %d times: %w", w.lost, readdressAfter, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		a.log.Warn("the cluster's lock cannot be had, and this node's etcd serves nobody: it goes to its new address without", "error", err)
		err = place(ctx)
	}
	if err != nil {
		return err
	}
	a.log.Info("etcd's manifest has this node's new address", "address", to, "revision", plan.Revision)
	a.freeKubelet(ctx)
	w.placed = true
	return nil
}

// hear notes that a peer's agent spoke.
func (a *Agent) hear(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name != "" {
		a.heard[name] = time.Now()
	}
}

// toldLately: the peer is known, and its agent speaks for itself. The lock is held.
func (a *Agent) toldLately(c node.Config, name string, now time.Time) bool {
	last, heard := a.heard[name]
	known := slices.ContainsFunc(c.Peers, func(p node.Peer) bool { return p.Name == name && p.PeerURL != "" })
	return heard && known && now.Sub(last) <= goneAfter
}
