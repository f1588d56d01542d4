package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/staticpod"
)

// podHash is the kubelet's annotation of a static pod: a hash of its manifest.
const podHash = "kubernetes.io/config.hash"

// serversCache is what the manifests said when they were last parsed: an idle agent parses none.
type serversCache struct {
	mu    sync.Mutex
	files []byte
	said  *agentpb.EtcdServers
	// settled is the manifest that was seen to run: the runtime need not be asked again.
	settled string
}

// etcdServers is what NodeState says of kube-apiserver's list.
func (a *Agent) etcdServers(ctx context.Context) *agentpb.EtcdServers {
	path := filepath.Join(a.paths.Manifests(), staticpod.APIServerFile)
	live, err := os.ReadFile(path) //nolint:gosec // a fixed name
	if errors.Is(err, fs.ErrNotExist) {
		return &agentpb.EtcdServers{}
	}
	info, statErr := os.Stat(path)
	if err := errors.Join(err, statErr); err != nil {
		return &agentpb.EtcdServers{Error: err.Error()}
	}
	a.servers.mu.Lock()
	defer a.servers.mu.Unlock()
	parsed, err := a.parsedServers(live)
	if err != nil {
		return &agentpb.EtcdServers{Error: err.Error()}
	}
	out := &agentpb.EtcdServers{Servers: parsed.GetServers(), Local: parsed.GetLocal(), UnchangedForMs: max(0, time.Since(info.ModTime()).Milliseconds())}
	if out.Restarting, err = a.serversRestarting(ctx, live); err != nil {
		out.Error = err.Error()
	}
	return out
}

// parsedServers is made of the manifests and the certificate, and again when one of them is another. The lock is held.
func (a *Agent) parsedServers(live []byte) (*agentpb.EtcdServers, error) {
	etcd, err := os.ReadFile(filepath.Join(a.paths.Manifests(), staticpod.EtcdFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	cert, err := os.ReadFile(filepath.Join(a.paths.EtcdPKI(), "server.crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	client := a.Config().ClientURL
	files := bytes.Join([][]byte{live, etcd, cert, []byte(client)}, []byte{0})
	if a.servers.said != nil && bytes.Equal(files, a.servers.files) {
		return a.servers.said, nil
	}
	servers, err := staticpod.EtcdServers(live)
	if err != nil {
		return nil, err
	}
	said := &agentpb.EtcdServers{Servers: servers, Local: []string{client}}
	if a.own == "" {
		said.Local = localServers(etcd, cert, client)
	}
	a.servers.files, a.servers.said = files, said
	return said, nil
}

// localServers are the URLs by which kube-apiserver reaches the etcd beside it: where etcd's manifest says that it listens,
// as far as its certificate has the name. Loopback is the best: it needs no network, and outlives a change of address.
func localServers(etcd, cert []byte, client string) []string {
	var urls []string
	if pod, err := staticpod.Parse(etcd); err == nil {
		if f, err := staticpod.EtcdFlags(pod); err == nil {
			urls = append(urls, f.ListenClientURLs...)
		}
	}
	names := leafNames(cert)
	var out []string
	add := func(raw string) {
		u, err := url.Parse(raw)
		if err != nil || raw == "" || slices.Contains(out, raw) {
			return
		}
		if names == nil || names.VerifyHostname(u.Hostname()) == nil {
			out = append(out, raw)
		}
	}
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		switch ip, err := netip.ParseAddr(u.Hostname()); {
		case err == nil && ip.IsUnspecified():
			u.Host = net.JoinHostPort("127.0.0.1", u.Port())
			add(u.String())
		case isLoopback(raw):
			add(raw)
		}
	}
	add(client)
	return out
}

// leafNames is the certificate that etcd serves with; nil where there is none to be read, as without TLS.
func leafNames(raw []byte) *x509.Certificate {
	b, _ := pem.Decode(raw)
	if b == nil {
		return nil
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil
	}
	return c
}

func isLoopback(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// serversRestarting: the manifest is one that ceo placed, and a pod of the one before runs, or none. The lock is held.
func (a *Agent) serversRestarting(ctx context.Context, live []byte) (bool, error) {
	last, known, err := staticpod.ReadPlacedServers(a.paths)
	if err != nil || !known {
		return false, err
	}
	if hash := staticpod.HashManifest(live); hash != last.Manifest || hash == a.servers.settled || len(last.Before) == 0 {
		return false, nil
	}
	pods, err := a.cri.Annotation(ctx, "kube-apiserver", podHash)
	if err != nil {
		return false, fmt.Errorf("which kube-apiserver runs is not known: %w", err)
	}
	if len(pods) == 0 || last.Stale(pods) {
		return true, nil
	}
	a.servers.settled = last.Manifest
	return false, nil
}

// ownServer is the URL of this node's own etcd in the form that a list has it, else in the best one.
func (a *Agent) ownServer(list, local []string) string {
	for _, s := range list {
		if slices.Contains(local, s) || a.own == "" && isLoopback(s) {
			return s
		}
	}
	if len(local) > 0 {
		return local[0]
	}
	return cmp.Or(a.Config().ClientURL, localClientURL)
}

// ownEtcdAlone gives kube-apiserver, before it is started, the etcd of its own node and no other: the members of a former
// epoch that a list still has may be alive, and serve what the recovery has taken back. clientv3 asks all of a list in turn
// and does not look at the cluster id, so a kube-apiserver would read now the one and now the other (I3, I4). The operator
// adds the others once they are voters of the cluster that lives. Where the manifest is in service with another list, its
// pod is ended.
func (a *Agent) ownEtcdAlone(ctx context.Context, components []string) error {
	if !slices.Contains(components, "kube-apiserver") {
		return nil
	}
	for _, dir := range []string{a.paths.Stopped(), a.paths.Manifests()} {
		live, err := os.ReadFile(filepath.Join(dir, staticpod.APIServerFile)) //nolint:gosec // fixed names
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("kube-apiserver's manifest: %w", err)
		}
		a.servers.mu.Lock()
		parsed, err := a.parsedServers(live)
		a.servers.mu.Unlock()
		if err != nil {
			return fmt.Errorf("kube-apiserver must ask this node's etcd alone, and its manifest in %s cannot be changed: %w; set --etcd-servers there by hand", dir, err)
		}
		changed, err := staticpod.PlaceServers(a.paths, dir, []string{a.ownServer(parsed.GetServers(), parsed.GetLocal())}, nil)
		if err != nil {
			return err
		}
		if changed {
			a.log.Info("kube-apiserver's --etcd-servers is this node's etcd alone", "was", parsed.GetServers())
		}
		if changed && dir == a.paths.Manifests() {
			if err := a.cri.StopStatic(ctx, []string{"kube-apiserver"}, grace); err != nil {
				return err
			}
		}
	}
	return nil
}
