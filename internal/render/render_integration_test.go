//go:build integration

package render

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/staticpod"
)

// written writes a node's files below a folder, with what is there before.
func written(t *testing.T, o Options, before Have) node.Paths {
	t.Helper()
	root := t.TempDir()
	for path, data := range before {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, data, err := Look(root, o)
	if err != nil {
		t.Fatal(err)
	}
	files, err := Render(o, have, data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(root, files, have); err != nil {
		t.Fatal(err)
	}
	return node.Paths{Root: root}
}

// member is an etcd with the rendered manifest's own flags, but for the ports, which the test cannot have.
func member(t *testing.T, p node.Paths, name string) *etcdtest.Member {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.Manifests(), staticpod.EtcdFile))
	if err != nil {
		t.Fatal(err)
	}
	pod, err := staticpod.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !staticpod.IsGuarded(pod) {
		t.Fatal("etcd is not under the guard")
	}
	m := etcdtest.NewMember(t, name, filepath.Join(p.Root, dataDir), nil)
	m.ClientURL, m.PeerURL = strings.Replace(m.ClientURL, "http:", "https:", 1), strings.Replace(m.PeerURL, "http:", "https:", 1)
	for _, flag := range pod.Spec.Containers[0].Command[4:] {
		switch {
		case strings.Contains(flag, "-urls="), strings.HasPrefix(flag, "--initial-cluster="), strings.HasPrefix(flag, "--data-dir="), strings.HasPrefix(flag, "--name="):
		default:
			m.Args = append(m.Args, strings.Replace(flag, "=/etc/", "="+p.Root+"/etc/", 1))
		}
	}
	return m
}

// A real etcd starts with what is rendered and is healthy to kubeadm's client; one whose node joins, with keys of its own
// and the CA alone of the first, is added as a learner and becomes a voter.
func TestRealEtcdsWithRenderedFiles(t *testing.T) {
	ctx := etcdtest.Context(t)
	one := written(t, first(), nil)
	a := member(t, one, "cp-1")
	a.Start(t, "--initial-cluster=cp-1="+a.PeerURL)
	a.WaitHealthy(t)
	config, err := client.HealthcheckTLS(one.EtcdPKI())
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial([]string{a.ClientURL}, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })

	ca := Have{}
	for _, name := range []string{"ca.crt", "ca.key"} {
		if ca[filepath.Join(on.EtcdPKI(), name)], err = os.ReadFile(filepath.Join(one.EtcdPKI(), name)); err != nil {
			t.Fatal(err)
		}
	}
	o := joining()
	o.Now = time.Now()
	two := written(t, o, ca)
	if _, err := os.Stat(two.Intent()); !os.IsNotExist(err) {
		t.Errorf("a node that joins has a permission: %v (P25)", err)
	}
	for _, key := range []string{"server.key", "peer.key"} {
		x, _ := os.ReadFile(filepath.Join(one.EtcdPKI(), key))
		y, err := os.ReadFile(filepath.Join(two.EtcdPKI(), key))
		if err != nil || string(x) == string(y) {
			t.Errorf("%s: %v: both nodes have the same", key, err)
		}
	}
	b := member(t, two, "cp-2")
	added, err := c.AddLearner(ctx, b.PeerURL)
	if err != nil {
		t.Fatal(err)
	}
	b.Start(t, "--initial-cluster=cp-1="+a.PeerURL+",cp-2="+b.PeerURL, "--initial-cluster-state=existing")
	etcdtest.Eventually(t, "the learner to be promoted", func() (bool, string) {
		if err := c.Promote(ctx, added.ID); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	b.WaitHealthy(t)
}
