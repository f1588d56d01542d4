// Package keep is what a control-plane node does with backups: it makes them of the cluster's etcd, and lists, proves,
// fetches and thins out those in the store that its configuration names. The agent serves it to others; as root on the
// node the CLI does the same without the agent.
package keep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/prove"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/store"
)

// Keeper is a node's view of its backups. Its fields do not change while it is used.
type Keeper struct {
	Paths   node.Paths
	Version string
	// Config names another file than the node's own; it is an error then if it is not there.
	Config string
	// Store names another place than the configured one.
	Store string
	Now   func() time.Time
	// Local is where this node's own etcd answers; empty means kubeadm's https://127.0.0.1:2379.
	Local string
}

// Memory is the soft limit for a process that makes or reads a backup, in bytes: what it needs is less, and without a
// limit the garbage of the stream doubles it.
const Memory = 80 << 20

// Progress is told what is being done, with bytes done of total; total is 0 where it is not known.
type Progress func(phase string, done, total int64)

// opened is a store with what it takes to use it.
type opened struct {
	store.Store
	config     backup.Config
	identities backup.Identities
	// placed: the location came from the cluster's specification.
	placed bool
}

func (k Keeper) open(ctx context.Context) (*opened, error) {
	n, err := k.configured()
	if err != nil {
		return nil, err
	}
	c := n.Config
	if k.Store != "" {
		c.Location = k.Store
	} else if c.Location == backup.DefaultLocation {
		c.Location = "file://" + k.Paths.Backups()
	}
	ids, err := c.Identities()
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, store.Config{URL: c.Location, Credentials: c.Credentials})
	if k.Store == "" && n.Lacks != "" {
		if err != nil {
			return nil, fmt.Errorf("%w; %s", err, n.Lacks)
		}
		s = &hinted{s, n.Lacks}
	}
	if err != nil {
		return nil, err
	}
	return &opened{s, c, ids, n.Placed && k.Store == ""}, nil
}

// configured reads the node's configuration, or the file that a person named, which stands for itself.
func (k Keeper) configured() (backup.NodeConfig, error) {
	if k.Config == "" {
		return backup.LoadNodeConfig(k.Paths)
	}
	if _, err := os.Stat(k.Config); err != nil {
		return backup.NodeConfig{}, fmt.Errorf("--config: %w", err)
	}
	c, err := backup.LoadConfig(k.Config)
	return backup.NodeConfig{Config: c}, err
}

func (k Keeper) now() time.Time {
	if k.Now == nil {
		return time.Now()
	}
	return k.Now()
}

// Made is a backup that was made, and of whom.
type Made struct {
	Manifest backup.Manifest `json:"manifest"`
	Store    string          `json:"store"`
	// From is the member, Why it was chosen.
	From string `json:"from"`
	Why  string `json:"why"`
	// Missing are static files that should be in it and could not be read.
	Missing []string `json:"missing,omitempty"`
	// Cleared are folders that killed runs left; Warning says why that failed. Neither concerns the backup.
	Cleared []string `json:"cleared,omitempty"`
	Warning string   `json:"warning,omitempty"`
}

// Create makes a backup of the cluster. It needs no quorum and no API server.
func (k Keeper) Create(ctx context.Context, resources bool, progress Progress) (Made, error) {
	c, err := node.Load(k.Paths)
	if err != nil {
		return Made{}, err
	}
	o, err := k.open(ctx)
	if err != nil {
		return Made{}, err
	}
	defer func() { _ = o.Close() }()
	resources = resources && o.config.WithResources()
	if err := backup.MayStore(o.Store, o.config, resources); err != nil {
		return Made{}, err
	}
	t, err := etcdclient.HealthcheckTLS(k.Paths.EtcdPKI())
	if err != nil {
		return Made{}, err
	}
	local := k.Local
	if local == "" {
		local = localClientURL
	}
	src, err := open(ctx, c, local, t)
	if err != nil {
		return Made{}, err
	}
	defer src.close()
	if err := requireSpace(o.Store, src.member.DBSize); err != nil {
		return Made{}, err
	}
	cluster, set, err := k.gather(c, src)
	if err != nil {
		return Made{}, err
	}
	missing := set.Missing
	if !resources {
		set, missing = nil, nil
	}
	m, err := backup.Create(ctx, backup.CreateParams{
		Store: o.Store, Config: o.config, Snapshot: src, SizeHint: src.member.DBSize, Cluster: cluster, Resources: set,
		Now: k.now, Version: k.Version,
		Progress: func(p backup.Progress) { progress(p.Phase, p.Done, p.Total) },
	})
	if err != nil {
		return Made{}, fmt.Errorf("back up %s: %w", src.member.Name, needs(src.member.DBSize, err))
	}
	made := Made{Manifest: m, Store: o.URL(), From: src.member.Name, Why: src.why, Missing: missing}
	if made.Cleared, err = backup.Leftovers(ctx, o.Store, m); err != nil {
		made.Warning = err.Error()
	}
	return made, nil
}

// gather says whose data it is, and reads the files that make it usable.
func (k Keeper) gather(c node.Config, src *source) (backup.Cluster, *backup.ResourceSet, error) {
	extra := map[string][]byte{}
	if src.kubeadm != nil {
		extra["kubeadm-config.yaml"] = src.kubeadm
	}
	set, cluster, err := backup.GatherResources(k.Paths, extra)
	if err != nil {
		return backup.Cluster{}, nil, err
	}
	if src.missing != nil {
		set.Missing = append(set.Missing, fmt.Sprintf("kubeadm-config: %v", src.missing))
	}
	cluster.Name, cluster.Node = c.ClusterName, c.Name
	cluster.ClusterID, cluster.MemberID = node.FormatID(src.member.ClusterID), node.FormatID(src.member.ID)
	cluster.Member, cluster.Endpoint, cluster.EtcdVersion = src.member.Name, src.member.Endpoint, src.member.Version
	return cluster, set, nil
}

// Find reads the catalogue and picks a backup by its name, latest or latest-proven.
func (k Keeper) Find(ctx context.Context, name string) (backup.Entry, error) {
	o, err := k.open(ctx)
	if err != nil {
		return backup.Entry{}, err
	}
	defer func() { _ = o.Close() }()
	return find(ctx, o, name)
}

func find(ctx context.Context, o *opened, name string) (backup.Entry, error) {
	l, err := backup.List(ctx, o.Store)
	if err != nil {
		return backup.Entry{}, err
	}
	return backup.Find(l.Entries, name)
}

// Verified is a backup that was read whole.
type Verified struct {
	Entry backup.Entry `json:"backup"`
	Store string       `json:"store"`
}

// Verify reads a backup whole from the store: digests, pages, tree, index, resources.
func (k Keeper) Verify(ctx context.Context, name string, progress Progress) (Verified, error) {
	o, err := k.open(ctx)
	if err != nil {
		return Verified{}, err
	}
	defer func() { _ = o.Close() }()
	e, err := find(ctx, o, name)
	if err != nil {
		return Verified{}, err
	}
	if err := backup.Verify(ctx, o.Store, e.Manifest, o.identities, func(p backup.Progress) { progress(p.Phase, p.Done, p.Total) }); err != nil {
		return Verified{}, fmt.Errorf("backup %s in %s: %w", e.ID, o.URL(), err)
	}
	return Verified{e, o.URL()}, nil
}

// ProveOptions of Prove.
type ProveOptions struct {
	Etcd    string // empty: the copy of this node's own
	Scratch string // empty: in the backup folder
}

// Prove restores a backup into scratch space, serves it with a real etcd and records that beside it.
func (k Keeper) Prove(ctx context.Context, name string, po ProveOptions, progress Progress) (Verified, error) {
	o, err := k.open(ctx)
	if err != nil {
		return Verified{}, err
	}
	defer func() { _ = o.Close() }()
	e, err := find(ctx, o, name)
	if err != nil {
		return Verified{}, err
	}
	if po.Etcd == "" {
		po.Etcd = k.Paths.EtcdBinary()
	}
	if po.Scratch == "" {
		po.Scratch = k.Paths.Scratch()
	}
	m := e.Manifest
	v, err := prove.Version(ctx, po.Etcd)
	if err != nil {
		return Verified{}, err
	}
	if err := backup.CheckVersion(m.Database.StorageVersion, v); err != nil { // P30
		return Verified{}, fmt.Errorf("backup %s in %s cannot be proven with %s: %w", e.ID, o.URL(), po.Etcd, err)
	}
	r, err := prove.Run(ctx, prove.Params{
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			return backup.OpenDatabase(ctx, o.Store, m, o.identities)
		},
		Size: m.Database.Size, SHA256: m.Database.SHA256, Label: o.URL() + "/" + m.ID,
		Revision: m.Database.Revision, Keys: m.Database.LiveKeys,
		Scratch: po.Scratch, Sockets: k.sockets(), Etcd: po.Etcd, Progress: progress,
	})
	if err != nil {
		return Verified{}, fmt.Errorf("backup %s in %s: %w", e.ID, o.URL(), err)
	}
	name, _ = os.Hostname()
	if c, err := node.Load(k.Paths); err == nil {
		name = c.Name
	}
	p, err := backup.WriteProof(ctx, o.Store, m, backup.Proof{
		At: k.now().UTC(), Node: name, EtcdVersion: r.EtcdVersion, Revision: r.Revision, Keys: r.Keys, Hash: r.Hash,
		RestoreTime: r.RestoreTime, ServeTime: r.ServeTime,
	})
	if err != nil {
		return Verified{}, fmt.Errorf("backup %s is proven, and that could not be recorded: %w", e.ID, err)
	}
	e.Proof = &p
	return Verified{e, o.URL()}, nil
}

// sockets is the node's folder for sockets where there is one, which the agent's container can write to.
func (k Keeper) sockets() string {
	if st, err := os.Stat(k.Paths.Run()); err == nil && st.IsDir() {
		return k.Paths.Run()
	}
	return os.TempDir()
}

// Open gives a backup's snapshot file, decrypted; the manifest says how long it is and what its digest is, which the
// reader has to compare.
func (k Keeper) Open(ctx context.Context, name string) (backup.Entry, io.ReadCloser, error) {
	o, err := k.open(ctx)
	if err != nil {
		return backup.Entry{}, nil, err
	}
	e, err := find(ctx, o, name)
	if err == nil {
		var r io.ReadCloser
		if r, err = backup.OpenDatabase(ctx, o.Store, e.Manifest, o.identities); err == nil {
			return e, &both{r, o}, nil
		}
	}
	return backup.Entry{}, nil, errors.Join(err, o.Close())
}

type both struct {
	io.ReadCloser
	store io.Closer
}

func (b *both) Close() error { return errors.Join(b.ReadCloser.Close(), b.store.Close()) }

// Fetch writes a backup's snapshot to a file and, if asked, its static files below a folder.
func (k Keeper) Fetch(ctx context.Context, name, file, resources string, progress Progress) (Verified, error) {
	o, err := k.open(ctx)
	if err != nil {
		return Verified{}, err
	}
	defer func() { _ = o.Close() }()
	e, err := find(ctx, o, name)
	if err != nil {
		return Verified{}, err
	}
	if err := backup.Fetch(ctx, o.Store, e.Manifest, o.identities, file, resources, func(p backup.Progress) { progress(p.Phase, p.Done, p.Total) }); err != nil {
		return Verified{}, err
	}
	return Verified{e, o.URL()}, nil
}
