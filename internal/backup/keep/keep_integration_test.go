//go:build integration

package keep_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/snapshot"
	"clusteretcd.io/ceo/internal/store/s3test"
)

// The way of a backup with a real cluster of three: of a follower, whole, listed, proven by a real etcd, fetched, thinned
// out; and made of whoever is left once the quorum is gone (I10, I17, I18, I24, P15).
func TestABackupsLife(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Members: 3, TLS: true})
	last := fill(t, c, 100)
	leads, follows := leader(t, c)
	m := newMachine(t, c, follows)
	m.configure(t, "retention: {last: 1}\n")

	first := m.create(t)
	if first.From != c.Members[follows].Name || !strings.Contains(first.Why, "follower on this node") {
		t.Errorf("taken of %s: %s", first.From, first.Why)
	}
	mf := first.Manifest
	if d := mf.Database; d.Revision != last || d.LiveKeys != 101 || d.Leases != 1 || d.StorageVersion != "3.7" || mf.ReadBack != backup.Decrypted {
		t.Errorf("%+v", mf)
	}
	if cl := mf.Cluster; cl.Name != "prod" || cl.ClusterID == "" || cl.MemberID == "" || cl.Member != first.From || cl.Node != first.From || cl.EtcdVersion != etcdtest.Version || cl.EtcdCA == "" || cl.ServiceAccount == "" {
		t.Errorf("%+v", cl)
	}
	for _, name := range []string{"/ceo/kubeadm-config.yaml", "/etc/kubernetes/manifests/etcd.yaml", "/etc/kubernetes/pki/ca.key", "/var/lib/ceo/node.json"} {
		if mf.Resources == nil || !slices.Contains(mf.Resources.Files, name) {
			t.Errorf("%s is not among %+v", name, mf.Resources)
		}
	}
	if !slices.ContainsFunc(first.Missing, func(s string) bool { return strings.Contains(s, "admin.conf") }) {
		t.Errorf("that admin.conf is not there is not said: %v", first.Missing)
	}

	// On the leader's node a follower elsewhere pays.
	if made := newMachine(t, c, leads).create(t); made.From == c.Members[leads].Name || !strings.Contains(made.Why, "follower") {
		t.Errorf("taken of %s: %s", made.From, made.Why)
	}

	proveAndFetch(t, m, mf.ID, last)

	// Two at once, on one store.
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := m.Create(etcdtest.Context(t), true, quiet); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l := m.list(t)
	if len(l.Good()) != 3 || len(l.Unfinished) != 0 {
		t.Fatalf("%+v", l)
	}
	for _, e := range l.Good() {
		if _, err := m.Verify(etcdtest.Context(t), e.ID, quiet); err != nil {
			t.Error(err)
		}
	}
	// A prune says what it would do, then does it; what is proven stays (I18).
	if p, err := m.Prune(etcdtest.Context(t), true); err != nil || len(p.Decision.Remove) != 1 || len(m.list(t).Entries) != 3 {
		t.Fatalf("%+v, %v", p, err)
	}
	if p, err := m.Prune(etcdtest.Context(t), false); err != nil || !p.Removed {
		t.Fatalf("%+v, %v", p, err)
	}
	if l = m.list(t); len(l.Entries) != 2 || l.Proven() == nil || l.Proven().ID != mf.ID {
		t.Fatalf("%+v", l)
	}

	// Without a quorum the one that answers is backed up.
	for i, e := range c.Members {
		if i != follows {
			e.Kill(t)
		}
	}
	etcdtest.Eventually(t, "the leader to be given up", func() (bool, string) {
		made, err := m.Create(etcdtest.Context(t), true, quiet)
		if err != nil {
			return false, err.Error()
		}
		if made.Manifest.Database.Revision != last {
			t.Fatalf("revision %d, want %d", made.Manifest.Database.Revision, last)
		}
		return strings.Contains(made.Why, "there is no leader"), made.Why
	})
}

// proveAndFetch proves a backup, and fetches what etcdutl would take.
func proveAndFetch(t *testing.T, m machine, id string, last int64) {
	t.Helper()
	etcd := filepath.Join(etcdtest.BinDir(t), "etcd")
	v, err := m.Prove(etcdtest.Context(t), id, keep.ProveOptions{Etcd: etcd}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if p := v.Entry.Proof; p == nil || p.EtcdVersion != etcdtest.Version || p.Revision != last || p.Keys != v.Entry.Manifest.Database.LiveKeys || p.Hash == 0 || p.RestoreTime <= 0 {
		t.Fatalf("%+v", p)
	}
	if left, _ := filepath.Glob(filepath.Join(m.Paths.Scratch(), "*")); len(left) != 0 {
		t.Errorf("scratch space is left: %v", left)
	}
	e, err := m.Find(etcdtest.Context(t), backup.LatestProven)
	if err != nil || e.ID != id || e.Proof.Digest != v.Entry.Proof.Digest {
		t.Fatalf("%+v, %v", e, err)
	}
	file, folder := filepath.Join(t.TempDir(), "s.db"), filepath.Join(t.TempDir(), "files")
	if _, err := m.Fetch(etcdtest.Context(t), id, file, folder, quiet); err != nil {
		t.Fatal(err)
	}
	// The snapshot as etcd sent it, with the hash that etcd made at its end.
	info, err := snapshot.Verify(etcdtest.Context(t), file, snapshot.VerifyOptions{})
	if d := v.Entry.Manifest.Database; err != nil || info.SHA256 != d.SHA256 || info.Hash != d.Hash || info.Size != d.Size || !info.HashPresent {
		t.Fatalf("%+v, %v", info, err)
	}
	if b, err := os.ReadFile(filepath.Join(folder, "ceo/kubeadm-config.yaml")); err != nil || string(b) != "kind: ClusterConfiguration\n" {
		t.Fatalf("%q, %v", b, err)
	}
}

// A restore that was changed on the way, or an etcd that serves something else, proves nothing (I10, I17); neither does
// an etcd that is older than the data (I22, P30).
func TestNotProven(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	fill(t, c, 20)
	m := newMachine(t, c, 0)
	if made := m.create(t); made.Why != "the only member" {
		t.Errorf("taken of %s: %s", made.From, made.Why)
	}
	etcd := filepath.Join(etcdtest.BinDir(t), "etcd")
	// Each is an etcd that does something before it is one; $data is the restored data dir.
	wrap := func(name, before string) string {
		path := filepath.Join(t.TempDir(), name)
		script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && exec %s --version\nfor a in \"$@\"; do case $a in --data-dir=*) data=${a#--data-dir=};; esac; done\n%s\nexec %s \"$@\"\n", etcd, before, etcd)
		if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		return path
	}
	for name, row := range map[string]struct{ etcd, says string }{
		"a value changed":    {wrap("changed", `sed -i 's/xxxxxxxxxx/xxxxxyxxxx/' "$data/member/snap/db"`), "etcd hashes its store to"},
		"nothing is there":   {wrap("empty", `mv "$data" "$data.away"; set -- "$@" --initial-cluster-state=new`), "it serves revision 1, the backup says"},
		"etcd dies":          {wrap("dies", `echo "no such luck"; exit 3`), "no such luck"},
		"the backend is cut": {wrap("cut", `truncate -s 8192 "$data/member/snap/db"`), "etcd ended"},
	} {
		_, err := m.Prove(etcdtest.Context(t), backup.Latest, keep.ProveOptions{Etcd: row.etcd}, quiet)
		if err == nil || !strings.Contains(err.Error(), "not proven") || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", name, err)
		}
		if m.list(t).Proven() != nil {
			t.Fatalf("%s: and it is recorded as proven", name)
		}
	}
	older := filepath.Join(t.TempDir(), "older")
	if err := os.WriteFile(older, []byte("#!/bin/sh\necho 'etcd Version: 3.6.9'\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for name, says := range map[string]string{older: "storage version is 3.7, and etcd here is 3.6.9", "/nowhere/etcd": "--etcd", "/bin/true": "--etcd"} {
		if _, err := m.Prove(etcdtest.Context(t), backup.Latest, keep.ProveOptions{Etcd: name}, quiet); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The same in an object store: encrypted, with credentials from the file and in no word that is printed.
func TestInAnObjectStore(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	last := fill(t, c, 50)
	s3 := s3test.Start(t, s3test.Options{TLS: true}).Config(t)
	m := newMachine(t, c, 0)
	ca, err := json.Marshal(s3.Credentials.CA)
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("location: %s\nretention: {last: 1}\ncredentials:\n  accessKeyID: %s\n  secretAccessKey: %s\n  ca: %s\n", s3.URL, s3.Credentials.AccessKeyID, s3.Credentials.SecretAccessKey, ca)
	m.configure(t, "%s", conf)

	// The CA's key does not go there for anybody to read.
	if _, err := m.Create(etcdtest.Context(t), true, quiet); err == nil || !strings.Contains(err.Error(), "ceo backup key") {
		t.Fatal(err)
	}
	if l := m.list(t); len(l.Entries)+len(l.Unfinished) != 0 || l.Local {
		t.Fatalf("%+v", l)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "backup.key")
	put(t, key, []byte(id.String()+"\n"))
	m.configure(t, "%srecipients: [%s]\nidentityFile: %s\n", conf, id.Recipient(), key)

	made := m.create(t)
	said, err := json.Marshal([]any{made, m.list(t)})
	if err != nil {
		t.Fatal(err)
	}
	if made.Manifest.ReadBack != backup.Decrypted || len(made.Manifest.Recipients) != 1 {
		t.Errorf("%+v", made.Manifest)
	}
	if _, err := m.Verify(etcdtest.Context(t), made.Manifest.ID, quiet); err != nil {
		t.Fatal(err)
	}
	proveAndFetch(t, m, made.Manifest.ID, last)
	second := m.create(t)
	if _, err := m.Prune(etcdtest.Context(t), false); err != nil {
		t.Fatal(err)
	}
	l := m.list(t)
	if len(l.Entries) != 2 || l.Entries[0].ID != second.Manifest.ID || l.Proven() == nil {
		t.Fatalf("the newest and the proven one stay: %+v", l)
	}
	// Wrong credentials, and another key.
	m.configure(t, "%s", strings.Replace(conf, "secretAccessKey: ", "secretAccessKey: x", 1))
	_, denied := m.List(etcdtest.Context(t))
	other := filepath.Join(t.TempDir(), "other.key")
	id2, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	put(t, other, []byte(id2.String()+"\n"))
	m.configure(t, "%srecipients: [%s]\nidentityFile: %s\n", conf, id.Recipient(), other)
	_, wrong := m.Verify(etcdtest.Context(t), backup.Latest, quiet)
	if denied == nil || !errors.Is(wrong, backup.ErrWrongKey) {
		t.Errorf("%v, %v", denied, wrong)
	}
	for _, text := range []string{string(said), fmt.Sprint(denied), fmt.Sprint(wrong)} {
		if strings.Contains(text, s3.Credentials.SecretAccessKey) || strings.Contains(text, "AGE-SECRET-KEY") {
			t.Errorf("shows a secret: %s", text)
		}
	}
}

// Cancelled in the middle of any phase, nothing is left, and those that are there are untouched.
func TestCancelledMidWay(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	fill(t, c, 20)
	m := newMachine(t, c, 0)
	first := m.create(t)
	for _, phase := range []string{"storing the snapshot", "storing the control plane's files", "reading the database back", "reading the files back"} {
		ctx, cancel := context.WithCancel(etcdtest.Context(t))
		reached := false
		_, err := m.Create(ctx, true, func(p string, _, _ int64) {
			if p == phase {
				reached = true
				cancel()
			}
		})
		cancel()
		if !reached || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: reached %t, %v", phase, reached, err)
		}
		if l := m.list(t); len(l.Entries) != 1 || l.Entries[0].ID != first.Manifest.ID || len(l.Unfinished) != 0 {
			t.Errorf("%s: %+v", phase, l)
		}
	}
}
