package cli

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/store"
)

// restorePlace is a machine with a store of backups in a folder.
type restorePlace struct {
	paths  node.Paths
	folder string
	config string
	c      backup.Config
	data   []byte
}

// newRestorePlace has its configuration; the store is empty. encrypted: to a key that is here.
func newRestorePlace(t *testing.T, encrypted bool) restorePlace {
	t.Helper()
	dir := t.TempDir()
	p := restorePlace{paths: node.Paths{Root: filepath.Join(dir, "root")}, folder: filepath.Join(dir, "store"), config: filepath.Join(dir, "backup.yaml")}
	p.c = backup.Config{Location: "file://" + p.folder}
	yaml := "location: " + p.c.Location + "\n"
	if encrypted {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		p.c.Recipients, p.c.IdentityFile = []string{id.Recipient().String()}, filepath.Join(dir, "key")
		if err := os.WriteFile(p.c.IdentityFile, []byte(id.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		yaml += "recipients: [" + p.c.Recipients[0] + "]\nidentityFile: " + p.c.IdentityFile + "\n"
	}
	if err := os.WriteFile(p.config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.paths.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	p.data = snapshotOf(t, "3.7.0")
	return p
}

func snapshotOf(t *testing.T, storage string) []byte {
	return etcdtest.Backend{
		Entries: etcdtest.Puts(2, 3000, 900), ConsistentIndex: 3500, Term: 2, StorageVersion: storage, ClusterVersion: "3.7.0",
		Members: []backend.Member{{ID: 7, Name: "cp-1"}},
	}.Snapshot(t)
}

// create makes a backup of a snapshot, begun at a time.
func (p restorePlace) create(t *testing.T, data []byte, cluster backup.Cluster, at time.Time) backup.Manifest {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: p.c.Location})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	m, err := backup.Create(t.Context(), backup.CreateParams{
		Store: s, Config: p.c, Snapshot: bytes.NewReader(data), SizeHint: int64(len(data)), Cluster: cluster,
		Now: func() time.Time { return at }, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var backupDay = time.Date(2026, 11, 22, 14, 2, 9, 0, time.UTC)

// restored runs the verb into a fresh place.
type restored struct {
	dir      string
	out, err bytes.Buffer
	failure  error
}

func (p restorePlace) restore(t *testing.T, source string, change func(*RestoreOptions)) *restored {
	t.Helper()
	r := &restored{dir: filepath.Join(t.TempDir(), "data")}
	o := RestoreOptions{
		Paths: p.paths, Format: JSON, Source: source, Config: p.config, DataDir: r.dir, Name: "cp-1", Token: "test",
		PeerURLs: []string{"https://10.0.0.11:2380"},
	}
	if change != nil {
		change(&o)
	}
	r.failure = Restore(t.Context(), Streams{In: strings.NewReader(""), Out: &r.out, Err: &r.err}, o)
	return r
}

// tree is what lies in a folder, byte for byte.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // the test's own
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// untouched: a restore that failed left nothing (P13).
func (r *restored) untouched(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(r.dir))
	if err != nil || len(entries) > 0 {
		t.Errorf("P13: it left %v, %v", entries, err)
	}
}

// TestRestoreOfABackup: whatever it is called by, and encrypted or not, what comes of a backup is what comes of the
// snapshot that it was made of, to the byte.
func TestRestoreOfABackup(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		p := newRestorePlace(t, encrypted)
		m := p.create(t, p.data, backup.Cluster{Name: "prod"}, backupDay)
		p.create(t, snapshotOf(t, ""), backup.Cluster{Name: "prod"}, backupDay.Add(-time.Hour))
		file := filepath.Join(t.TempDir(), "snapshot.db")
		if err := os.WriteFile(file, p.data, 0o600); err != nil {
			t.Fatal(err)
		}
		whole := p.restore(t, file, nil)
		if whole.failure != nil {
			t.Fatal(whole.failure)
		}
		want := tree(t, whole.dir)
		names := []string{"latest", m.ID, m.ID[:16], "file://" + p.folder + "/" + m.ID, "file://" + p.folder + "/latest"}
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				r := p.restore(t, name, nil)
				if r.failure != nil {
					t.Fatal(r.failure)
				}
				got := tree(t, r.dir)
				for f, content := range want {
					if got[f] != content {
						t.Errorf("%s is another", f)
					}
				}
				if len(got) != len(want) {
					t.Errorf("%d files, want %d", len(got), len(want))
				}
				for stream, says := range map[string]string{r.out.String(): `"source": "file://` + p.folder + "/" + m.ID + `"`, r.err.String(): "of cluster prod, begun 2026-11-22 14:02:09 UTC, revision 3,001"} {
					if !strings.Contains(stream, says) {
						t.Errorf("no %q in %s", says, stream)
					}
				}
			})
		}
		if r := p.restore(t, "latest-proven", nil); !errors.Is(r.failure, backup.ErrNoBackup) || !strings.Contains(r.failure.Error(), "prove one") {
			t.Errorf("none is proven: %v", r.failure)
		}
		if r := p.restore(t, "latest", func(o *RestoreOptions) { o.Config, o.Store = p.config, "file:///nowhere/at/all" }); r.failure == nil {
			t.Error("--store was not looked into")
		}
	}
}

// TestRestoreOfABadBackup: each kind of it has its own words, and nothing is touched (P13, P14, I1).
func TestRestoreOfABadBackup(t *testing.T) {
	p := newRestorePlace(t, true)
	m := p.create(t, p.data, backup.Cluster{Name: "prod"}, backupDay)
	object := filepath.Join(p.folder, m.ID, m.Database.Object)
	good, err := os.ReadFile(object) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(p.c.IdentityFile)
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 4
		return b
	}
	for _, row := range []struct {
		name   string
		object []byte
		key    []byte
		is     error
		says   string
	}{
		{"a flipped bit in its middle", flipped(len(good) / 2), key, backup.ErrDamaged, m.Database.Object},
		{"a flipped bit at its end", flipped(len(good) - 1), key, backup.ErrDamaged, m.Database.Object},
		{"cut short", good[:len(good)/2], key, nil, "bytes, "},
		{"another's key", good, []byte(other.String() + "\n"), backup.ErrWrongKey, "age1"},
		{"no key", good, []byte("# nothing\n"), nil, "no age secret key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for path, b := range map[string][]byte{object: row.object, p.c.IdentityFile: row.key} {
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := p.restore(t, m.ID, nil)
			if r.failure == nil || row.is != nil && !errors.Is(r.failure, row.is) || !strings.Contains(r.failure.Error(), row.says) {
				t.Errorf("%v, which does not say %q", r.failure, row.says)
			}
			r.untouched(t)
			if strings.Contains(r.failure.Error()+r.err.String(), "AGE-SECRET") {
				t.Error("a secret is shown")
			}
		})
	}
}

// TestRestoreOfANewerEtcd: refused by what the manifest says, before a byte is read (P30, I22).
func TestRestoreOfANewerEtcd(t *testing.T) {
	p := newRestorePlace(t, false)
	m := p.create(t, snapshotOf(t, "3.99.0"), backup.Cluster{}, backupDay)
	if err := os.Truncate(filepath.Join(p.folder, m.ID, m.Database.Object), m.Database.StoredSize-1); err != nil {
		t.Fatal(err)
	}
	if r := p.restore(t, "latest", nil); r.failure == nil || !strings.Contains(r.failure.Error(), "no good one") {
		t.Errorf("latest is a damaged one: %v", r.failure)
	}
	m = p.create(t, snapshotOf(t, "3.99.0"), backup.Cluster{}, backupDay.Add(time.Minute))
	r := p.restore(t, m.ID, nil)
	if CodeOf(r.failure) != ExitRefused || !strings.Contains(r.failure.Error(), "3.99") || !strings.Contains(r.failure.Error(), "newer ceo") {
		t.Errorf("I22: %v", r.failure)
	}
	r.untouched(t)
}

// TestRestoreOntoAnOlderEtcd: onto this node's own data dir, its own etcd counts, for a file too (I22).
func TestRestoreOntoAnOlderEtcd(t *testing.T) {
	p := newRestorePlace(t, false)
	own := p.isNode(t, "3.6.5")
	p.create(t, p.data, backup.Cluster{}, backupDay)
	file := filepath.Join(t.TempDir(), "snapshot.db")
	if err := os.WriteFile(file, p.data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"latest", file} {
		r := p.restore(t, source, func(o *RestoreOptions) { o.DataDir = own })
		if CodeOf(r.failure) != ExitRefused || !strings.Contains(r.failure.Error(), "3.6.5") || !strings.Contains(r.failure.Error(), "3.7") {
			t.Errorf("I22: %s: %v", source, r.failure)
		}
		if len(tree(t, own)) > 0 {
			t.Errorf("%s: it touched %s", source, own)
		}
		if r := p.restore(t, source, nil); r.failure != nil {
			t.Errorf("%s, to look at elsewhere: %v", source, r.failure)
		}
	}
}

// isNode makes a control-plane node of the place, and gives its data dir, which is not there.
func (p restorePlace) isNode(t *testing.T, etcd string) string {
	t.Helper()
	own := filepath.Join(p.paths.Root, "var/lib/etcd")
	c := node.Config{
		ClusterName: "prod", Name: "cp-1", Address: "10.0.0.11", PeerURL: "https://10.0.0.11:2380", ClientURL: "https://10.0.0.11:2379",
		DataDir: own, EtcdVersion: etcd,
	}
	if err := durable.MkdirAll(p.paths.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := node.Save(p.paths, c); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"manifests/kube-apiserver.yaml": `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver}
spec:
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.37.2
    command: [kube-apiserver, --encryption-provider-config=/etc/kubernetes/enc/config.yaml]
`,
		"enc/config.yaml": `kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aescbc: {keys: [{name: key1, secret: VERYSECRET}]}
`,
		"pki/sa.pub":      "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"pki/ca.crt":      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"pki/etcd/ca.crt": "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n",
	} {
		path := filepath.Join(p.paths.Root, "etc/kubernetes", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return own
}

// TestRestoreOfWhatDoesNotFit: for this node's own data dir what its control plane could not work with is refused (P7,
// I25); for another place it is said.
func TestRestoreOfWhatDoesNotFit(t *testing.T) {
	for _, row := range []struct {
		name    string
		change  func(*backup.Cluster)
		refused bool
		accept  string // goes through with this risk accepted
		says    string // also elsewhere, as a warning
	}{
		{"it fits", func(*backup.Cluster) {}, false, "", ""},
		{"a key is missing", func(c *backup.Cluster) { c.EncryptionKeys = append(c.EncryptionKeys, "aescbc/key2") }, true, "", "aescbc/key2"},
		{"another cluster", func(c *backup.Cluster) { c.EtcdCA = strings.Repeat("ab", 32) }, true, ForeignSnapshot, "another etcd CA"},
		{"another service account key", func(c *backup.Cluster) { c.ServiceAccount = strings.Repeat("ab", 32) }, false, "", "401"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newRestorePlace(t, false)
			own := p.isNode(t, "3.7.3")
			_, cluster, err := backup.GatherResources(p.paths, nil)
			if err != nil {
				t.Fatal(err)
			}
			row.change(&cluster)
			p.create(t, p.data, cluster, backupDay)

			elsewhere := p.restore(t, "latest", nil)
			if elsewhere.failure != nil {
				t.Fatal(elsewhere.failure)
			}
			warned := strings.Contains(elsewhere.err.String(), "warning: ") && strings.Contains(elsewhere.out.String(), `"warnings"`)
			if warned != (row.says != "") || !strings.Contains(elsewhere.err.String(), row.says) {
				t.Errorf("elsewhere it says %s", &elsewhere.err)
			}
			into := func(o *RestoreOptions) { o.DataDir = own }
			r := p.restore(t, "latest", into)
			if (CodeOf(r.failure) == ExitRefused) != row.refused || row.refused && !strings.Contains(r.failure.Error(), row.says) {
				t.Fatalf("into the node's own data dir: %v", r.failure)
			}
			if row.refused && len(tree(t, own)) > 0 {
				t.Error("I25: refused, and something was changed")
			}
			if row.accept != "" {
				r := p.restore(t, "latest", func(o *RestoreOptions) { into(o); o.AcceptRisks = []string{row.accept} })
				if r.failure != nil || len(tree(t, own)) == 0 {
					t.Errorf("accepted: %v", r.failure)
				}
			}
		})
	}
	p := newRestorePlace(t, false)
	if r := p.restore(t, "latest", func(o *RestoreOptions) { o.AcceptRisks = []string{"rollback"} }); r.failure == nil || !strings.Contains(r.failure.Error(), ForeignSnapshot) {
		t.Errorf("a risk that this verb has not: %v", r.failure)
	}
}

// TestRestoreNames: what a source stands for is never a guess.
func TestRestoreNames(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"latest-proven", "snapshot.db", "20261122"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("latest", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		source, store string
		want          named
		says          string // an error
	}{
		{source: "snapshot.db", want: named{file: here + "/snapshot.db"}},
		{source: "./latest-proven", want: named{file: here + "/latest-proven"}},
		{source: "latest-proven", want: named{file: here + "/latest-proven", or: "taking the file"}},
		{source: "20261122", want: named{file: here + "/20261122", or: "taking the file"}},
		{source: "latest-proven", store: "file:///b", want: named{name: "latest-proven", store: "file:///b"}},
		{source: "latest", want: named{name: "latest", or: "nor is there a file"}}, // a directory is no snapshot
		{source: "20261122t140209z-4f1c", want: named{name: "20261122t140209z-4f1c", or: "nor"}},
		{source: "2026", want: named{name: "2026", or: "nor"}},
		{source: "missing.db", says: "there is no file " + here + "/missing.db"},
		{source: "dir/missing.db", want: named{file: here + "/dir/missing.db"}},
		{source: "a/b", store: "file:///b", says: "no backup's name"},
		{source: "", says: ""},
		{source: "file:///b/20261122t140209z-4f1c", want: named{name: "20261122t140209z-4f1c", store: "file:///b"}},
		{source: "s3://dr/prod/latest?region=eu-central-1&endpoint=https://h:1/", want: named{name: "latest", store: "s3://dr/prod?region=eu-central-1&endpoint=https://h:1/"}},
		{source: "s3://dr/20261122/", want: named{name: "20261122", store: "s3://dr"}},
		{source: "s3://dr/prod?region=x", says: "end its path with a backup's name"},
		{source: "s3://latest", says: "end its path"},
		{source: "gs://user:hunter2@dr/prod", says: "names a store"},
		{source: "file://" + here + "/snapshot.db", says: "named by its path: " + here + "/snapshot.db"},
		{source: "s3://dr/latest", store: "file:///b", says: "leave one of them out"},
	} {
		got, err := RestoreOptions{Source: row.source, Store: row.store}.named()
		if row.says != "" {
			if err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: %v does not say %q", row.source, err, row.says)
			}
			continue
		}
		if row.source == "" {
			continue
		}
		said := row.want.or == "" && got.or == "" || row.want.or != "" && strings.Contains(got.or, row.want.or)
		if got.or = row.want.or; err != nil || got != row.want || !said {
			t.Errorf("%q --store=%q: %+v, %v; want %+v", row.source, row.store, got, err, row.want)
		}
	}
}

// TestRestoreOfAFileNamedAsABackup: the file that is there wins, and that is said.
func TestRestoreOfAFileNamedAsABackup(t *testing.T) {
	p := newRestorePlace(t, false)
	p.create(t, snapshotOf(t, ""), backup.Cluster{}, backupDay)
	t.Chdir(t.TempDir())
	if err := os.WriteFile("latest", p.data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := p.restore(t, "latest", nil)
	if r.failure != nil || !strings.Contains(r.err.String(), "taking the file /") || strings.Contains(r.out.String(), p.folder) {
		t.Errorf("%v, %s, %s", r.failure, &r.err, &r.out)
	}
	r = p.restore(t, "latest", func(o *RestoreOptions) { o.Store = "file://" + p.folder })
	if r.failure != nil || !strings.Contains(r.out.String(), p.folder) {
		t.Errorf("%v, %s", r.failure, &r.out)
	}
}

// TestRestoreInterrupted: with a backup as with a file, nothing is left.
func TestRestoreInterrupted(t *testing.T) {
	p := newRestorePlace(t, false)
	p.create(t, p.data, backup.Cluster{}, backupDay)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &restored{dir: filepath.Join(t.TempDir(), "data")}
	r.failure = Restore(ctx, Streams{Out: &r.out, Err: &r.err}, RestoreOptions{
		Paths: p.paths, Source: "latest", Config: p.config, DataDir: r.dir, Name: "cp-1", PeerURLs: []string{"http://localhost:2380"},
	})
	if !errors.Is(r.failure, context.Canceled) {
		t.Errorf("%v", r.failure)
	}
	r.untouched(t)
}
