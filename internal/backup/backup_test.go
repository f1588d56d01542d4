package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/snapshot"
	"clusteretcd.io/ceo/internal/store"
	"clusteretcd.io/ceo/internal/store/storetest"
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

// P14, I17: a backup of which any bit was changed, that was cut or lacks a part, is never listed as good and verified.
func TestDamagedBackup(t *testing.T) {
	data := database(t, 6000)
	for _, encrypted := range []bool{false, true} {
		p := newPlace(t, encrypted)
		m := p.create(t, data)
		if _, err := backup.WriteProof(t.Context(), p.s, m, backup.Proof{At: time.Now().UTC(), EtcdVersion: "3.7.3"}); err != nil {
			t.Fatal(err)
		}
		refused := func(what string) {
			t.Helper()
			c, err := backup.List(t.Context(), p.s)
			if err != nil || len(c.Entries) == 0 || !c.Entries[0].Good() {
				return
			}
			if err := backup.Verify(t.Context(), p.s, c.Entries[0].Manifest, p.keys, nil); err == nil {
				t.Errorf("%s, encrypted %t: verified", what, encrypted)
			} else if !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("%s, encrypted %t: %v", what, encrypted, err)
			}
		}
		for _, path := range objects(t, p, m.ID) {
			name := filepath.Base(path)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			put := func(b []byte) {
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			step := max(1, len(good)/60)
			if name == "manifest.json" || name == "proof.json" {
				step = 7
			}
			for at := 0; at < len(good); at += step {
				b := bytes.Clone(good)
				b[at] ^= 1 << (at % 8)
				put(b)
				if name == "proof.json" {
					// A proof that was changed proves nothing; the backup is what it was.
					if e := p.list(t).Entries[0]; !e.Good() || e.Proof != nil {
						t.Errorf("proof.json flipped at %d: %+v", at, e.Proof)
					}
					continue
				}
				refused(fmt.Sprintf("%s flipped at %d", name, at))
			}
			if name != "proof.json" {
				for _, n := range []int{0, 1, len(good) / 2, len(good) - 1} {
					put(good[:n])
					refused(fmt.Sprintf("%s cut to %d", name, n))
				}
				put(append(bytes.Clone(good), 0))
				refused(name + " with a byte more")
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if c := p.list(t); len(c.Entries) == 1 && c.Entries[0].Good() {
					t.Errorf("%s is missing, and it is good", name)
				}
			}
			put(good)
		}
		if err := backup.Verify(t.Context(), p.s, m, p.keys, nil); err != nil {
			t.Fatalf("put back: %v", err)
		}
	}
}

// A snapshot that is damaged, also under a right hash, or that ends early, makes no backup and leaves nothing.
func TestBadSource(t *testing.T) {
	data := database(t, 3000)
	for name, b := range map[string][]byte{
		"cut": data[:len(data)/2], "flipped": flipped(data, len(data)/2), "empty": nil, "something else": []byte(strings.Repeat("x", 100_000)),
		"no hash": data[:len(data)-32],
	} {
		p := newPlace(t, false)
		if _, err := backup.Create(t.Context(), p.params(t, b)); err == nil {
			t.Errorf("%s: made a backup", name)
		}
		if left, _ := os.ReadDir(p.dir); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 4
	return b
}

func TestWrongKey(t *testing.T) {
	data := database(t, 300)
	p, other := newPlace(t, true), newPlace(t, true)
	m := p.create(t, data)
	for name, ids := range map[string]backup.Identities{"another": other.keys, "none": {}} {
		err := backup.Verify(t.Context(), p.s, m, ids, nil)
		if !errors.Is(err, backup.ErrWrongKey) || !strings.Contains(err.Error(), p.c.Recipients[0]) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := backup.OpenDatabase(t.Context(), p.s, m, ids); !errors.Is(err, backup.ErrWrongKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A node that may only make backups compares what it stored.
	q := newPlace(t, true)
	q.c.IdentityFile = ""
	if m := q.create(t, data); m.ReadBack != backup.StoredBytes {
		t.Errorf("%+v", m)
	}
}

// elsewhere is a store that is not on this machine.
type elsewhere struct{ store.Store }

func (elsewhere) Local() bool { return false }

func TestKeysDoNotLeaveUnencrypted(t *testing.T) {
	p := newPlace(t, false)
	q := p.params(t, database(t, 10))
	q.Store = elsewhere{p.s}
	if _, err := backup.Create(t.Context(), q); err == nil || !strings.Contains(err.Error(), "ceo backup key") {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(p.dir); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
}

// A reading back that finds something else than was sent makes no backup (I17).
func TestReadBack(t *testing.T) {
	p := newPlace(t, false)
	q := p.params(t, database(t, 3000))
	q.Store = &liar{Store: p.s}
	_, err := backup.Create(t.Context(), q)
	if err == nil || !strings.Contains(err.Error(), "read back") {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(p.dir); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
}

// liar flips a bit of what it was given to keep.
type liar struct{ store.Store }

func (l *liar) Create(ctx context.Context, key string) (store.Writer, error) {
	w, err := l.Store.Create(ctx, key)
	return &lying{Writer: w}, err
}

type lying struct {
	store.Writer
	n int
}

func (l *lying) Write(p []byte) (int, error) {
	b := bytes.Clone(p)
	if l.n += len(p); l.n > 50_000 {
		b[len(b)-1] ^= 1
	}
	return l.Writer.Write(b)
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

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.yaml")
	if c, err := backup.LoadConfig(path); err != nil || c.Location != backup.DefaultLocation || !c.WithResources() {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, row := range []struct {
		name, content string
		mode          os.FileMode
		says          string
	}{
		{"good", "location: s3://b?region=x\ncredentials: {accessKeyID: a, secretAccessKey: MARKER}\nretention: {last: 3, maxAge: 720h}\n", 0o600, ""},
		{"readable by others", "location: file:///x\n", 0o644, "chmod 600"},
		{"unknown field", "locatoin: file:///x\n", 0o600, "locatoin"},
		{"no recipient", "recipients: [x]\n", 0o600, "age1"},
		{"no level", "compression: best\n", 0o600, "fastest"},
		{"negative", "retention: {last: -1}\n", 0o600, "negative"},
		{"a secret of another form", "credentials: {secretAccessKey: [MARKER]}\n", 0o600, "backup.yaml"},
	} {
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, row.mode); err != nil {
			t.Fatal(err)
		}
		c, err := backup.LoadConfig(path)
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", row.name, err)
		}
		for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprint(err)} {
			if strings.Contains(s, "MARKER") {
				t.Errorf("%s: shows a secret: %s", row.name, s)
			}
		}
	}
}

// P7, P8, I25.
func TestCompare(t *testing.T) {
	m := backup.Manifest{ID: "20261124t110000z-0000", Cluster: backup.Cluster{EncryptionKeys: []string{"aescbc/key1", "aescbc/key2"}, ServiceAccount: "a", EtcdCA: "b"}}
	same := m.Cluster
	if d := backup.Compare(same, m); len(d) != 0 {
		t.Fatalf("%+v", d)
	}
	if d := backup.Compare(backup.Cluster{EncryptionKeys: same.EncryptionKeys}, m); len(d) != 0 {
		t.Fatalf("what is not known is a difference: %+v", d)
	}
	d := backup.Compare(backup.Cluster{EncryptionKeys: []string{"aescbc/key2"}, ServiceAccount: "x", EtcdCA: "y"}, m)
	if len(d) != 3 || d[0].Field != backup.FieldEncryptionKeys || !strings.Contains(d[0].Text, "aescbc/key1") || strings.Contains(d[0].Text, "key2") {
		t.Fatalf("%+v", d)
	}
}

func FuzzManifest(f *testing.F) {
	p := newPlace(f, false)
	b, err := p.create(f, database(f, 10)).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := backup.DecodeManifest(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("taken, and written differently: %v", err)
		}
		if strings.ContainsAny(m.Database.Object, "/\\") {
			t.Fatalf("leads elsewhere: %s", m.Database.Object)
		}
	})
}

var (
	_ = snapshot.ErrCorrupt
	_ = storetest.NewFaulty
)
