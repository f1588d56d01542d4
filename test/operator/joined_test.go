//go:build integration

package operator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/cri/critest"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/install"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

const joinedImage = "clusteretcd.io/ceo:test"

// TestJoinedNodeGetsItsEtcd: a node that kubeadm joined to a cluster whose etcd it does not make gets etcd's files from the
// installer, by the word of real etcds and real agents: not before an agent says that this etcd is the cluster of ceo (I3),
// with keys of its own and no permission to begin a cluster (P25), and once (I20).
func TestJoinedNodeGetsItsEtcd(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorldWithoutAPI(t)
	members := w.newReal3(t)
	p := w.joinedByKubeadm(t, "cp-4", "10.99.0.14", members[0].etcd.ClientURL)
	var said []string
	o := install.Options{
		Paths: p, Image: joinedImage, RuntimeSocket: "/cri.sock", Progress: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) },
	}
	refused := func(why string) {
		t.Helper()
		if wrote, err := install.Joined(etcdtest.Context(t), o, "cp-4"); wrote || err == nil || !strings.Contains(err.Error(), why) {
			t.Fatalf("%t, %v, want %q", wrote, err, why)
		}
		if _, err := os.Stat(filepath.Join(p.Manifests(), staticpod.EtcdFile)); !os.IsNotExist(err) {
			t.Fatalf("etcd's manifest is there: %v", err)
		}
	}
	refused("no agent of a member says")
	for _, m := range members {
		m.runReal(t)
	}
	refused(`cp-1 knows of cluster ""`)

	st, err := members[0].etcd.Client(t).Status(etcdtest.Context(t), members[0].etcd.ClientURL)
	must(t, err)
	pool := agentclient.NewPool(w.operatorFiles())
	t.Cleanup(func() { _ = pool.Close() })
	agent, err := pool.Agent(members[0].address)
	must(t, err)
	_, err = agent.Identity(etcdtest.Context(t), &agentpb.IdentityRequest{Lineage: []*agentpb.Generation{{ClusterId: node.FormatID(st.Header.GetClusterId())}}})
	must(t, err)
	wrote, err := install.Joined(etcdtest.Context(t), o, "cp-4")
	if err != nil || !wrote {
		t.Fatalf("%t, %v\n%s", wrote, err, strings.Join(said, "\n"))
	}

	raw, err := os.ReadFile(filepath.Join(p.Manifests(), staticpod.EtcdFile))
	must(t, err)
	pod, err := staticpod.Parse(raw)
	must(t, err)
	flags, err := staticpod.EtcdFlags(pod)
	must(t, err)
	if !staticpod.IsGuarded(pod) || pod.Spec.Containers[0].Image != "registry.k8s.io/etcd:3.7.0-0" || flags.Name != "cp-4" || flags.InitialAdvertisePeerURLs[0] != "https://10.99.0.14:2380" {
		t.Errorf("%s", raw)
	}
	self, err := node.Load(p)
	must(t, err)
	if len(self.Peers) != 3 || self.ClusterName != "test" {
		t.Errorf("%+v", self)
	}
	if _, err := os.Stat(p.Intent()); !os.IsNotExist(err) {
		t.Errorf("it may begin a cluster: %v", err)
	}
	for _, f := range []string{"server.key", "peer.key"} {
		mine, err := os.ReadFile(filepath.Join(p.EtcdPKI(), f))
		must(t, err)
		other, err := os.ReadFile(filepath.Join(members[0].paths.EtcdPKI(), f))
		must(t, err)
		if string(mine) == string(other) {
			t.Errorf("%s is that of cp-1", f)
		}
	}
	if wrote, err := install.Joined(etcdtest.Context(t), o, "cp-4"); wrote || err != nil {
		t.Errorf("again: %t, %v", wrote, err)
	}
}

// joinedByKubeadm is what kubeadm leaves on such a node, with etcd's CA, which a person has put there.
func (w *world) joinedByKubeadm(t *testing.T, name, address, server string) node.Paths {
	t.Helper()
	root, err := os.MkdirTemp("", "ceo") // a socket's path must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	p := node.Paths{Root: root}
	must(t, os.MkdirAll(p.EtcdPKI(), 0o700))
	must(t, os.MkdirAll(p.Manifests(), 0o700))
	writePEM(t, filepath.Join(p.EtcdPKI(), "ca.crt"), "CERTIFICATE", w.caCert.Raw)
	writeKey(t, filepath.Join(p.EtcdPKI(), "ca.key"), w.caKey)
	ca, err := pki.LoadCA(p.EtcdPKI())
	must(t, err)
	now := time.Now()
	for _, f := range pki.FirstPairs(p, pki.Host{Name: name, Address: address, Now: now}) {
		if f.Name == "apiserver-etcd-client" {
			pair, err := f.Complete(ca, pki.Pair{}, now)
			must(t, err)
			must(t, durable.WriteFile(f.Key, pair.Key, 0o600))
			must(t, durable.WriteFile(f.Cert, pair.Cert, 0o600))
		}
	}
	must(t, staticpod.Place(p.Manifests(), staticpod.APIServerFile, fmt.Appendf(nil, `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system}
spec:
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.37.2
    command: [kube-apiserver, --advertise-address=%s, "--etcd-servers=https://127.0.0.1:2379,%s"]
`, address, server)))
	runtime := critest.Serve(t, filepath.Join(root, "cri.sock"))
	runtime.Have(joinedImage)
	return p
}
