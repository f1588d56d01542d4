// Package node holds what a control-plane node knows of itself and of its
// cluster without asking anybody: the files under /var/lib/ceo. The agent
// writes them, the guard and the CLI read them. Everything here must be
// readable with the API server, etcd and the network down.
package node

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/durable"
)

// AgentPort is where every agent serves gRPC over mTLS.
const AgentPort = 2382

// GuardProbePort is where the guard answers the kubelet's probes, on
// loopback. It is not etcd's own metrics port: a port that changed hands
// between guard and etcd could be taken by neither when a probe comes.
const GuardProbePort = 2383

// AgentMetricsPort is where the agent serves /metrics, /healthz and /readyz, on
// loopback unless it is told otherwise. 2384 and 2385 are the operator's.
const AgentMetricsPort = 2386

// Config is node.json.
type Config struct {
	// Name is the node's name and its member's name.
	Name string `json:"name"`
	// ClusterName is what a person types to confirm a destructive verb.
	ClusterName string `json:"clusterName"`
	// Address is the address other nodes reach this one by, without a port.
	Address string `json:"address"`
	// PeerURL and ClientURL are etcd's advertised URLs on this node.
	PeerURL   string `json:"peerURL"`
	ClientURL string `json:"clientURL"`
	// DataDir is etcd's data dir on the host.
	DataDir string `json:"dataDir"`
	// Peers are the other control-plane nodes that have ever been seen. A
	// peer that cannot be reached stays here: unknown is not gone.
	Peers []Peer `json:"peers"`
	// Lineage names the cluster of each epoch, oldest first.
	Lineage Lineage `json:"lineage"`
	// EtcdVersion is the version of etcd that was last seen to serve here.
	EtcdVersion string `json:"etcdVersion,omitempty"`
}

// Peer is another control-plane node.
type Peer struct {
	Name      string `json:"name"`
	Address   string `json:"address"`
	PeerURL   string `json:"peerURL,omitempty"`
	ClientURL string `json:"clientURL,omitempty"`
}

// AgentAddress is host:port of the peer's agent.
func (p Peer) AgentAddress() string {
	return net.JoinHostPort(p.Address, strconv.Itoa(AgentPort))
}

// Validate says what is wrong with a node.json, in words.
func (c Config) Validate() error {
	switch {
	case c.Name == "":
		return fmt.Errorf("node.json has no name: run `ceo node install` on this node again")
	case net.ParseIP(c.Address) == nil:
		return fmt.Errorf("node.json: address %q is not an IP address: run `ceo node install` on this node again", c.Address)
	case c.PeerURL == "" || c.ClientURL == "":
		return fmt.Errorf("node.json of %s lacks etcd's peer or client URL: run `ceo node install` on this node again", c.Name)
	case !filepath.IsAbs(c.DataDir):
		return fmt.Errorf("node.json of %s: data dir %q is not an absolute path", c.Name, c.DataDir)
	}
	return c.Lineage.Validate()
}

// WithPeer returns the config with the peer added, or its addresses brought up
// to date, and whether anything changed. A node is no peer of itself.
func (c Config) WithPeer(p Peer) (Config, bool) {
	if p.Name == "" || p.Name == c.Name || p.Address == "" {
		return c, false
	}
	i := slices.IndexFunc(c.Peers, func(q Peer) bool { return q.Name == p.Name })
	if i < 0 {
		c.Peers = append(slices.Clone(c.Peers), p)
		slices.SortFunc(c.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
		return c, true
	}
	if p.PeerURL == "" {
		p.PeerURL = c.Peers[i].PeerURL
	}
	if p.ClientURL == "" {
		p.ClientURL = c.Peers[i].ClientURL
	}
	if c.Peers[i] == p {
		return c, false
	}
	c.Peers = slices.Clone(c.Peers)
	c.Peers[i] = p
	return c, true
}

// WithoutPeer returns the config without a peer that was given up.
func (c Config) WithoutPeer(name string) (Config, bool, error) {
	i := slices.IndexFunc(c.Peers, func(q Peer) bool { return q.Name == name })
	if i < 0 {
		return c, false, nil
	}
	c.Peers = slices.Delete(slices.Clone(c.Peers), i, i+1)
	return c, true, nil
}

// Paths are the places on a node. Root is "" on a real one; tests set it.
type Paths struct {
	Root string
}

// State is the directory of everything ceo keeps on a node.
func (p Paths) State() string { return filepath.Join(p.Root, "/var/lib/ceo") }

// Config is node.json.
func (p Paths) Config() string { return filepath.Join(p.State(), "node.json") }

// Hold is hold.json: while it is there, the guard keeps etcd stopped.
func (p Paths) Hold() string { return filepath.Join(p.State(), "hold.json") }

// Intent is intent.json: what the agent allows or forbids the guard.
func (p Paths) Intent() string { return filepath.Join(p.State(), "intent.json") }

// Served is served.json: the last revision that etcd was seen to serve.
func (p Paths) Served() string { return filepath.Join(p.State(), "served.json") }

// GuardStatus is guard.json: the guard's last decision, for when it is gone.
func (p Paths) GuardStatus() string { return filepath.Join(p.State(), "guard.json") }

// Journal is the folder of recovery journals.
func (p Paths) Journal() string { return filepath.Join(p.State(), "journal") }

// Stopped holds manifests that were taken out of service.
func (p Paths) Stopped() string { return filepath.Join(p.State(), "stopped") }

// Kubeadm holds kubeadm's own etcd manifest, for `ceo node uninstall`.
func (p Paths) Kubeadm() string { return filepath.Join(p.State(), "kubeadm") }

// PKI holds the agent's certificates.
func (p Paths) PKI() string { return filepath.Join(p.State(), "pki") }

// OperatorPKI holds what the operator calls the agents with: a folder of its
// own, which its pod mounts and nothing beside it.
func (p Paths) OperatorPKI() string { return filepath.Join(p.State(), "operator") }

// EtcdCAs holds every CA of etcd that a change of it knew, with its key: none
// is ever deleted.
func (p Paths) EtcdCAs() string { return filepath.Join(p.State(), "etcd-ca") }

// Run is the folder of sockets.
func (p Paths) Run() string { return filepath.Join(p.Root, "/run/ceo") }

// AgentSocket is the agent's root-only socket.
func (p Paths) AgentSocket() string { return filepath.Join(p.Run(), "agent.sock") }

// GuardSocket is where the guard answers the agent.
func (p Paths) GuardSocket() string { return filepath.Join(p.Run(), "guard.sock") }

// Manifests is the kubelet's folder of static pods.
func (p Paths) Manifests() string { return filepath.Join(p.Root, "/etc/kubernetes/manifests") }

// KubernetesPKI is kubeadm's folder of certificates.
func (p Paths) KubernetesPKI() string { return filepath.Join(p.Root, "/etc/kubernetes/pki") }

// EtcdPKI is kubeadm's folder of etcd's certificates.
func (p Paths) EtcdPKI() string { return filepath.Join(p.KubernetesPKI(), "etcd") }

// Backups is where local backups lie.
func (p Paths) Backups() string { return filepath.Join(p.Root, "/var/lib/etcd-backup") }

// BackupConfig says where backups go and with what credentials: root's alone.
func (p Paths) BackupConfig() string { return filepath.Join(p.State(), "backup.yaml") }

// Scratch is where a backup is restored to be proven.
func (p Paths) Scratch() string { return filepath.Join(p.Backups(), ".scratch") }

// EtcdBinary is the copy of the etcd that runs here, which the guard keeps.
func (p Paths) EtcdBinary() string { return filepath.Join(p.State(), "bin", "etcd") }

// Load reads and checks node.json.
func Load(p Paths) (Config, error) {
	c, err := durable.ReadJSON[Config](p.Config())
	if err != nil {
		return Config{}, fmt.Errorf("read what this node knows of itself: %w", err)
	}
	return c, c.Validate()
}

// Save writes node.json durably.
func Save(p Paths, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return durable.WriteJSON(p.Config(), c, 0o600)
}

// Hold is hold.json. Its presence alone holds etcd, also over restarts of the
// guard's container and of the node.
type Hold struct {
	// ID names what asked for it: a recovery, a fence. Only a release with the
	// same ID ends it.
	ID     string    `json:"id"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Fast ends etcd with SIGKILL after a short grace: an etcd without quorum
	// does not exit on SIGTERM for 5 s, and its WAL is crash-safe.
	Fast bool `json:"fast,omitempty"`
}

// Intent is intent.json.
type Intent struct {
	// BootstrapOnce permits one start of a new cluster on an empty data dir;
	// the guard removes it before it starts etcd.
	BootstrapOnce bool `json:"bootstrapOnce,omitempty"`
	// RestorePending is the id of a recovery that is swapping the data dir:
	// nothing starts until it is cleared.
	RestorePending string `json:"restorePending,omitempty"`
}

// Served is served.json.
type Served struct {
	ClusterID string    `json:"clusterID"`
	Revision  int64     `json:"revision"`
	At        time.Time `json:"at"`
}
