package install

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

// host is the node as the manifests on it say it is.
type host struct {
	paths node.Paths
	flags staticpod.Flags
	self  node.Peer

	// live is etcd's manifest as it is; kubeadm is the one that is kept, nil if none is.
	live, kubeadm []byte
	guarded       bool
	// The manifests as they are to be, and the agent's as it is (nil: not placed).
	wantEtcd, wantAgent, agent []byte
	// wantKubeadm is kubeadm's own as it is to be put back; nil if none is kept.
	wantKubeadm   []byte
	runtimeSocket string
}

func readHost(p node.Paths, o Options) (*host, error) {
	h := &host{paths: p}
	path := filepath.Join(p.Manifests(), staticpod.EtcdFile)
	var err error
	if h.live, err = os.ReadFile(path); err != nil { //nolint:gosec // a fixed name below the manifests folder
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no etcd manifest at %s: run this on a control-plane node that kubeadm made, as root. Where kubeadm takes etcd for an external one, ceo's installer or `ceo render --peer` writes it: %w", path, err)
		}
		return nil, fmt.Errorf("etcd's manifest: %w", err)
	}
	pod, err := staticpod.Parse(h.live)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if h.flags, err = staticpod.EtcdFlags(pod); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	address, err := h.flags.Address()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	h.self = node.Peer{Name: h.flags.Name, Address: address, PeerURL: h.flags.InitialAdvertisePeerURLs[0], ClientURL: h.flags.AdvertiseClientURLs[0]}
	h.guarded = staticpod.IsGuarded(pod)
	if h.kubeadm, err = readOptional(filepath.Join(p.Kubeadm(), staticpod.EtcdFile)); err != nil {
		return nil, err
	}
	if h.guarded && h.kubeadm != nil && o.Image == "" { // an uninstallation
		if h.wantKubeadm, err = staticpod.RenderKubeadm(h.kubeadm, h.live); err != nil {
			return nil, err
		}
	}
	if h.agent, err = readOptional(filepath.Join(p.Manifests(), staticpod.AgentFile)); err != nil {
		return nil, err
	}
	if h.runtimeSocket, err = runtimeSocket(p, o.RuntimeSocket); err != nil {
		return nil, err
	}
	return h, h.render(o, pod)
}

func (h *host) render(o Options, pod *corev1.Pod) error {
	image := o.Image
	if image == "" {
		image = staticpod.CeoImage(pod)
	}
	options := staticpod.Options{CeoImage: image, DataDir: h.flags.DataDir, RuntimeDir: filepath.Dir(h.runtimeSocket), CADirs: caDirs(cmp.Or(o.HostRoot, h.paths.Root))}
	if image == "" {
		// An uninstallation renders nothing.
		return nil
	}
	var err error
	// From the live one, not from the one that is kept: a flag that a person added since stays.
	if h.wantEtcd, err = staticpod.RenderGuardedEtcd(h.live, options); err != nil {
		return err
	}
	h.wantAgent, err = staticpod.RenderAgent(options)
	return err
}

// caDirs are the folders where distributions keep the certificates of public CAs, as far as they are on this node: Debian
// has the first, the others are where Red Hat's first leads.
func caDirs(root string) []string {
	var out []string
	for _, dir := range []string{"/etc/ssl/certs", "/etc/pki/ca-trust", "/etc/pki/tls/certs"} {
		if st, err := os.Stat(filepath.Join(root, dir)); err == nil && st.IsDir() {
			out = append(out, dir)
		}
	}
	return out
}

func readOptional(path string) ([]byte, error) {
	data, err := os.ReadFile(path) //nolint:gosec // fixed names
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func runtimeSocket(p node.Paths, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	for _, s := range cri.Sockets {
		if _, err := os.Stat(filepath.Join(p.Root, s)); err == nil {
			return s, nil
		}
	}
	return "", fmt.Errorf("%w at %v: name it with --runtime-socket", cri.ErrNoRuntime, cri.Sockets)
}

// facts gathers what the decision is made of.
func (h *host) facts(ctx context.Context, o Options, c *cluster, r *cri.Runtime, a Agents) (Facts, view, error) {
	f := Facts{
		Node: h.self.Name, Image: o.Image, Guarded: h.guarded,
		EtcdCurrent:    h.guarded && bytes.Equal(h.live, h.wantEtcd),
		KubeadmSaved:   h.kubeadm != nil,
		KubeadmCurrent: !h.guarded && bytes.Equal(h.live, h.kubeadm),
		AgentPlaced:    h.agent != nil,
		AgentCurrent:   h.agent != nil && bytes.Equal(h.agent, h.wantAgent),
	}
	now := time.Now()
	f.AgentCert = pki.WhyAgent(h.paths, h.self.Name, h.self.Address, now)
	f.AdminCert = pki.WhyAdmin(h.paths, h.self.Name, now)
	f.OperatorCert = pki.WhyOperator(h.paths, h.self.Name, now)
	for _, cert := range pki.Inspect(h.paths.EtcdPKI()) {
		if cert.Error == "" && now.After(cert.NotAfter) {
			f.Expired = append(f.Expired, cert.Path)
		}
	}
	original, err := staticpod.OriginalServers(h.paths)
	if err != nil {
		return f, view{}, fmt.Errorf("which --etcd-servers kube-apiserver had before is not known: %w; set them by hand, and move the file away", err)
	}
	f.ServersChanged = original != nil
	if f.Busy, err = h.busy(ctx, a); err != nil {
		return f, view{}, err
	}
	if o.Image != "" {
		limited, cancel := context.WithTimeout(ctx, perMember)
		defer cancel()
		if f.ImagePresent, err = r.HasImage(limited, o.Image); err != nil {
			return f, view{}, err
		}
	}
	v, err := c.look(ctx)
	if err != nil {
		return f, v, err
	}
	f.Members, f.Leader, f.Why = v.healthy, v.leader, v.why
	if i := slices.IndexFunc(v.members, h.isSelf); i >= 0 {
		f.Self = v.members[i].ID
	}
	return f, v, nil
}

// isSelf goes by the peer URL and the name: after a change of address only one of them is right (P20), and a member that
// is ours by half is not ours.
func (h *host) isSelf(m client.Member) bool {
	return m.Name == h.self.Name && slices.Contains(m.PeerURLs, h.self.PeerURL)
}

// busy says what is under way on this node that a restart of etcd would disturb.
func (h *host) busy(ctx context.Context, a Agents) (string, error) {
	hold, err := durable.ReadJSON[node.Hold](h.paths.Hold())
	switch {
	case err == nil:
		return fmt.Sprintf("etcd on this node is held by %s (%s): let that end first", hold.ID, hold.Reason), nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	intent, err := durable.ReadJSON[node.Intent](h.paths.Intent())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if intent.RestorePending != "" {
		return fmt.Sprintf("recovery %s is swapping this node's data: let it end first", intent.RestorePending), nil
	}
	if h.agent == nil {
		return "", nil
	}
	limited, cancel := context.WithTimeout(ctx, perMember)
	defer cancel()
	// An agent that does not answer is what a repeated installation repairs.
	if open, err := a.Local(limited); err == nil && open != "" {
		return fmt.Sprintf("recovery %s is open on this node: let it end first, see `ceo status`", open), nil
	}
	return "", nil
}

// config makes node.json from what is there, what etcd says and what the peers' agents know. Without a certificate to ask
// them with (ask is false) it is not complete, and says that it changes.
func (h *host) config(ctx context.Context, c *cluster, v view, self uint64, a Agents, ask bool) (want node.Config, changed bool, err error) {
	have, err := durable.ReadJSON[node.Config](h.paths.Config())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return want, false, fmt.Errorf("%w: move it away and run this again", err)
	}
	want = have
	if want.ClusterName, err = clusterName(h.paths, have.ClusterName); err != nil {
		return want, false, err
	}
	want.Name, want.Address, want.PeerURL, want.ClientURL = h.self.Name, h.self.Address, h.self.PeerURL, h.self.ClientURL
	want.DataDir = h.flags.DataDir
	if version := v.versions[self]; version != "" {
		want.EtcdVersion = version
	}
	for _, m := range v.members {
		if len(m.PeerURLs) == 0 || m.Name == "" {
			continue
		}
		p := node.Peer{Name: m.Name, Address: hostOf(append(slices.Clone(m.ClientURLs), m.PeerURLs...)...), PeerURL: m.PeerURLs[0]}
		if len(m.ClientURLs) > 0 {
			p.ClientURL = m.ClientURLs[0]
		}
		want, _ = want.WithPeer(p)
	}
	if !ask {
		return want, true, nil
	}
	installed, err := c.installed(ctx, h.self.Name)
	if err != nil {
		return want, false, err
	}
	var lineages []node.Lineage
	if len(want.Peers) > 0 && len(installed) > 0 {
		answers, silent := askPeers(ctx, a, want.Peers, h.self)
		lineages = answers
		if len(answers) == 0 && len(have.Lineage) == 0 {
			for _, name := range installed {
				if why := silent[name]; why != nil {
					return want, false, fmt.Errorf("ceo is on %v, but no agent answered: %w", installed, why)
				}
			}
		}
	}
	if want.Lineage, err = decideLineage(have.Lineage, lineages, installed, node.FormatID(v.clusterID), time.Now()); err != nil {
		return want, false, err
	}
	return want, !equalConfig(have, want), nil
}

func equalConfig(a, b node.Config) bool {
	return a.Name == b.Name && a.ClusterName == b.ClusterName && a.Address == b.Address && a.PeerURL == b.PeerURL &&
		a.ClientURL == b.ClientURL && a.DataDir == b.DataDir && a.EtcdVersion == b.EtcdVersion &&
		slices.Equal(a.Peers, b.Peers) && slices.EqualFunc(a.Lineage, b.Lineage, func(x, y node.Generation) bool {
		return x.Epoch == y.Epoch && x.ClusterID == y.ClusterID && x.Recovery == y.Recovery
	})
}
