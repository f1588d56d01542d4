package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/store"
)

func database(t testing.TB, n int) []byte {
	return etcdtest.Backend{
		Entries: etcdtest.Puts(2, n, 900), ConsistentIndex: 500, Term: 2, StorageVersion: "3.7.0", ClusterVersion: "3.7.0",
		Members: []backend.Member{{ID: 7, Name: "cp-1"}}, Leases: []int64{1, 2},
	}.Snapshot(t)
}

// place is a store that holds one backup, in a folder so that its bytes can be damaged.
type place struct {
	dir  string
	s    store.Store
	c    backup.Config
	keys backup.Identities
}

func newPlace(t testing.TB, encrypted bool) place {
	t.Helper()
	dir := t.TempDir()
	p := place{dir: dir, c: backup.Config{Location: "file://" + dir}}
	if encrypted {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		p.c.IdentityFile = filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(p.c.IdentityFile, []byte(id.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.c.Recipients = []string{id.Recipient().String()}
	}
	var err error
	if p.keys, err = p.c.Identities(); err != nil {
		t.Fatal(err)
	}
	if p.s, err = store.Open(t.Context(), store.Config{URL: p.c.Location}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.s.Close() })
	return p
}

// copied is another place with the same in it.
func (p place) copied(t testing.TB) place {
	t.Helper()
	q := p
	q.dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(q.dir, os.DirFS(p.dir)); err != nil {
		t.Fatal(err)
	}
	var err error
	if q.s, err = store.Open(t.Context(), store.Config{URL: "file://" + q.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.s.Close() })
	return q
}

// nodeFiles is a node with some of the files that a control plane has.
func nodeFiles(t testing.TB) node.Paths {
	t.Helper()
	p := node.Paths{Root: t.TempDir()}
	for name, content := range map[string]string{
		"/etc/kubernetes/manifests/kube-apiserver.yaml": `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver}
spec:
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.37.2
    command: [kube-apiserver, --encryption-provider-config=/etc/kubernetes/enc/config.yaml]
`,
		"/etc/kubernetes/enc/config.yaml": `kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aescbc: {keys: [{name: key1, secret: VERYSECRET}]}
  - identity: {}
`,
		"/etc/kubernetes/pki/sa.pub":      "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"/etc/kubernetes/pki/ca.crt":      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"/etc/kubernetes/pki/ca.key":      "the CA's key",
		"/etc/kubernetes/admin.conf":      "admin",
		"/var/lib/ceo/node.json":          "{}",
		"/etc/kubernetes/pki/sa.key":      "sa",
		"/etc/kubernetes/pki/etcd/ca.crt": "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n",
	} {
		path := p.Root + name
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p place) params(t testing.TB, data []byte) backup.CreateParams {
	t.Helper()
	set, cluster, err := backup.GatherResources(nodeFiles(t), map[string][]byte{"kubeadm-config.yaml": []byte("kind: ClusterConfiguration\n")})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Name, cluster.ClusterID = "prod", "abc"
	return backup.CreateParams{Store: p.s, Config: p.c, Snapshot: bytes.NewReader(data), SizeHint: int64(len(data)), Cluster: cluster, Resources: set, Now: time.Now, Version: "test"}
}

func (p place) create(t testing.TB, data []byte) backup.Manifest {
	t.Helper()
	m, err := backup.Create(t.Context(), p.params(t, data))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (p place) list(t testing.TB) backup.Catalogue {
	t.Helper()
	c, err := backup.List(t.Context(), p.s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCreateListVerifyFetch(t *testing.T) {
	data := database(t, 12_000)
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted %t", encrypted), func(t *testing.T) {
			p := newPlace(t, encrypted)
			m := p.create(t, data)
			d := m.Database
			if d.Revision != 12_001 || d.TotalKeys != 12_000 || d.Size != int64(len(data)) || d.StorageVersion != "3.7" || m.ReadBack != backup.Decrypted {
				t.Fatalf("%+v", m)
			}
			if m.Cluster.KubernetesVersion != "v1.37.2" || len(m.Cluster.EncryptionKeys) != 1 || m.Cluster.EncryptionKeys[0] != "aescbc/key1" || m.Cluster.ServiceAccount == "" {
				t.Fatalf("%+v", m.Cluster)
			}
			c := p.list(t)
			if len(c.Entries) != 1 || !c.Entries[0].Good() || c.Entries[0].Manifest.Digest != m.Digest || len(c.Unfinished) != 0 {
				t.Fatalf("%+v", c)
			}
			if err := backup.Verify(t.Context(), p.s, m, p.keys, nil); err != nil {
				t.Fatal(err)
			}
			to, files := filepath.Join(t.TempDir(), "s.db"), filepath.Join(t.TempDir(), "files")
			if err := backup.Fetch(t.Context(), p.s, m, p.keys, to, files, nil); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("fetched %d bytes, %v", len(got), err)
			}
			if got, err := os.ReadFile(filepath.Join(files, "etc/kubernetes/pki/ca.key")); err != nil || string(got) != "the CA's key" {
				t.Fatalf("%q, %v", got, err)
			}
			if err := backup.Fetch(t.Context(), p.s, m, p.keys, to, "", nil); !errors.Is(err, os.ErrExist) {
				t.Fatalf("fetched over a file: %v", err)
			}
			// Nothing readable lies in the store if it is encrypted.
			leaks := 0
			for _, o := range objects(t, p, m.ID) {
				b, err := os.ReadFile(o)
				if err != nil {
					t.Fatal(err)
				}
				if filepath.Base(o) != "manifest.json" && bytes.Contains(b, []byte("/registry/")) || bytes.Contains(b, []byte("VERYSECRET")) {
					leaks++
				}
			}
			if encrypted && leaks > 0 {
				t.Fatal("readable in the store")
			}
			proof, err := backup.WriteProof(t.Context(), p.s, m, backup.Proof{At: time.Now().UTC(), EtcdVersion: "3.7.3", Revision: d.Revision})
			if e := p.list(t).Entries[0]; err != nil || e.Proof == nil || e.Proof.Digest != proof.Digest {
				t.Fatalf("%+v, %v", e, err)
			}
		})
	}
}

func objects(t testing.TB, p place, id string) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(p.dir, id, "*"))
	if err != nil || len(out) == 0 {
		t.Fatal(out, err)
	}
	return out
}

// Two at once do not harm each other.
func TestTwoWriters(t *testing.T) {
	p := newPlace(t, false)
	data := database(t, 3000)
	var wg sync.WaitGroup
	for range 4 {
		q := p.params(t, data)
		wg.Go(func() {
			if _, err := backup.Create(t.Context(), q); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c := p.list(t)
	if len(c.Entries) != 4 {
		t.Fatalf("%d backups", len(c.Entries))
	}
	for _, e := range c.Entries {
		if err := backup.Verify(t.Context(), p.s, e.Manifest, p.keys, nil); err != nil {
			t.Error(err)
		}
	}
	d := backup.Retain(c, backup.Policy{Last: 1}, time.Now())
	if err := backup.Prune(t.Context(), p.s, d); err != nil || len(p.list(t).Entries) != 1 {
		t.Fatalf("%+v, %v", p.list(t), err)
	}
	if _, err := backup.Find(p.list(t).Entries, d.Keep[0].ID); err != nil {
		t.Fatal(err)
	}
}
