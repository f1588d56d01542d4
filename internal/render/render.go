// Package render makes what a control-plane node needs before there is a cluster: etcd's PKI, the static pods of etcd and
// the agent, and kubeadm's words for an etcd that it does not make. Render is a function of what is asked for and what is
// there; Write puts the files in place and replaces none.
package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

// Options is what is asked for.
type Options struct {
	// Name of the node and its member, Address where the others reach it.
	Name, Address string
	ClusterName   string
	// EtcdImage and CeoImage are to be on the node, or where it can pull them.
	EtcdImage, CeoImage string
	// RuntimeDir is the folder of the container runtime's socket; CADirs the node's folders of public CAs.
	RuntimeDir string
	CADirs     []string
	// Peers are nodes of the cluster that this one is to become a member of. Without any, this one begins a new cluster.
	Peers []node.Peer
	// Joined: kubeadm has joined the node already, and needs no words of how to begin.
	Joined bool
	Now    time.Time
}

// joins: the node is added to a cluster that is there.
func (o Options) joins() bool { return len(o.Peers) > 0 }

// File is one file of the node, by its path there.
type File struct {
	Path string
	Mode fs.FileMode
	// Owner is its user and group; -1: whoever writes.
	Owner int
	Data  []byte
	// Lives: others change it once the node runs. One that is there is left as it is.
	Lives bool
}

// Have is what is there already, by the path on the node.
type Have map[string][]byte

// RefusedError is a node on which nothing is to be written.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason + ". Nothing was written" }

// ExitCode is "refused as unsafe".
func (*RefusedError) ExitCode() int { return 4 }

func refuse(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

var on = node.Paths{}

// KubeadmFile is the part of kubeadm's configuration that says where etcd is.
func KubeadmFile() string { return filepath.Join(on.Kubeadm(), "init.yaml") }

func etcdManifest() string { return filepath.Join(on.Manifests(), staticpod.EtcdFile) }

// Paths are all files that Render may ask for.
func Paths(o Options) []string {
	out := []string{
		filepath.Join(on.EtcdPKI(), "ca.key"), filepath.Join(on.EtcdPKI(), "ca.crt"), pki.OperatorFiles(on).CA, on.Config(), on.Intent(),
		filepath.Join(on.Kubeadm(), staticpod.EtcdFile), KubeadmFile(), filepath.Join(on.Manifests(), staticpod.AgentFile), etcdManifest(),
	}
	for _, f := range pki.FirstPairs(on, host(o)) {
		out = append(out, f.Key, f.Cert)
	}
	return out
}

func host(o Options) pki.Host { return pki.Host{Name: o.Name, Address: o.Address, Now: o.Now} }

// Render gives the files in the order in which they are to be written: a key before its certificate, and etcd's manifest
// last, for the kubelet starts what it finds. data says what lies in etcd's data dir, "" for nothing.
func Render(o Options, have Have, data string) ([]File, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	_, placed := have[etcdManifest()]
	if data != "" && !placed {
		return nil, refuse("%s holds %s, and no manifest of etcd is here: that is a cluster's data. `ceo restore` and `ceo node install` are for such a node; for a new cluster move it away", dataDir, data)
	}
	files, err := certificates(o, have)
	if err != nil {
		return nil, err
	}
	config, err := configFile(o, have)
	if err != nil {
		return nil, err
	}
	files = append(files, config)
	bare, guarded, agent, err := manifests(o)
	if err != nil {
		return nil, err
	}
	files = append(files, File{Path: filepath.Join(on.Kubeadm(), staticpod.EtcdFile), Mode: 0o600, Owner: -1, Data: bare})
	if !o.Joined {
		files = append(files, File{Path: KubeadmFile(), Mode: 0o600, Owner: -1, Data: KubeadmConfig(o)})
	}
	if !o.joins() {
		// Once the manifest is in place the guard may have used the permission: it is never given a second time (P25).
		if !placed {
			intent, err := asJSON(node.Intent{BootstrapOnce: true})
			if err != nil {
				return nil, err
			}
			files = append(files, File{Path: on.Intent(), Mode: 0o600, Owner: -1, Data: intent})
		}
	} else if mayBootstrap(have) {
		return nil, refuse("%s permits this node to begin a cluster, and it is to join one: an earlier run had no --peer", on.Intent())
	}
	files = append(files,
		File{Path: filepath.Join(on.Manifests(), staticpod.AgentFile), Mode: 0o600, Owner: -1, Data: agent},
		File{Path: etcdManifest(), Mode: 0o600, Owner: -1, Data: guarded})
	return files, conflicts(files, have)
}

func mayBootstrap(have Have) bool {
	var i node.Intent
	raw, ok := have[on.Intent()]
	return ok && (json.Unmarshal(raw, &i) != nil || i.BootstrapOnce)
}

// conflicts names every file that is there and is another.
func conflicts(files []File, have Have) error {
	var other []string
	for _, f := range files {
		if data, ok := have[f.Path]; ok && !f.Lives && !bytes.Equal(data, f.Data) {
			other = append(other, f.Path)
		}
	}
	if len(other) > 0 {
		return refuse("%v: there already, and not what would be written. Where they are of no use any more, move them away; a node that runs is repaired by `ceo node install`", other)
	}
	return nil
}

// certificates are the CA, every pair that it signs, and the operator's copy of it.
func certificates(o Options, have Have) ([]File, error) {
	keyPath, crtPath := filepath.Join(on.EtcdPKI(), "ca.key"), filepath.Join(on.EtcdPKI(), "ca.crt")
	there := pki.Pair{Cert: have[crtPath], Key: have[keyPath]}
	if o.joins() && (there.Cert == nil || there.Key == nil) {
		return nil, fmt.Errorf("%s and %s are not both on this node: copy them from %s first, as root: a node that joins has the CA of the cluster, and makes its own keys", crtPath, keyPath, o.Peers[0].Name)
	}
	whole, ca, err := pki.FirstCA(there, o.Now)
	if err != nil {
		return nil, err
	}
	files := []File{
		{Path: keyPath, Mode: 0o600, Owner: -1, Data: whole.Key},
		{Path: crtPath, Mode: 0o644, Owner: -1, Data: whole.Cert},
		{Path: pki.OperatorFiles(on).CA, Mode: 0o400, Owner: pki.OperatorUser, Data: whole.Cert},
	}
	for _, f := range pki.FirstPairs(on, host(o)) {
		pair, err := f.Complete(ca, pki.Pair{Cert: have[f.Cert], Key: have[f.Key]}, o.Now)
		if err != nil {
			return nil, refuse("%v", err)
		}
		files = append(files, File{Path: f.Key, Mode: f.KeyMode, Owner: f.Owner, Data: pair.Key}, File{Path: f.Cert, Mode: f.CertMode, Owner: f.Owner, Data: pair.Cert})
	}
	return files, nil
}

// configFile is node.json. The agent goes on writing it, so that one of this node stays as it is. The lineage is not
// known before the cluster is.
func configFile(o Options, have Have) (File, error) {
	c := node.Config{
		Name: o.Name, ClusterName: o.ClusterName, Address: o.Address, PeerURL: o.url(peerPort), ClientURL: o.url(clientPort), DataDir: dataDir,
		Peers: slices.Clone(o.Peers),
	}
	if err := c.Validate(); err != nil {
		return File{}, err
	}
	f := File{Path: on.Config(), Mode: 0o600, Owner: -1, Lives: true}
	if raw, ok := have[f.Path]; ok {
		var there node.Config
		if err := json.Unmarshal(raw, &there); err != nil {
			return f, refuse("%s: %v: move it away", f.Path, err)
		}
		if there.Name != c.Name || there.Address != c.Address || there.DataDir != c.DataDir {
			return f, refuse("%s says that this is node %s at %s: a node of another name or address begins without it", f.Path, there.Name, there.Address)
		}
		_, placed := have[etcdManifest()]
		for _, p := range o.Peers {
			if !slices.ContainsFunc(there.Peers, func(q node.Peer) bool { return q.Name == p.Name && q.Address == p.Address }) {
				return f, refuse("%s does not know the peer %s=%s: an earlier run was told other things", f.Path, p.Name, p.Address)
			}
		}
		// A node that knows of a cluster begins no second one (P25, I3).
		if !o.joins() && !placed && (len(there.Peers) > 0 || len(there.Lineage) > 0) {
			return f, refuse("%s knows of a cluster already: name its nodes with --peer", f.Path)
		}
		f.Data = raw
		return f, nil
	}
	var err error
	f.Data, err = asJSON(c)
	return f, err
}

func asJSON(v any) ([]byte, error) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(raw, '\n'), nil
}
