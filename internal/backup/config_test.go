package backup_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/store"
)

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

// P29: what holds secrets is root's alone, or is not read.
func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	p := newPlace(t, true)
	for name, row := range map[string]struct {
		prepare func(path string) error
		says    string
	}{
		"others may read it":  {func(path string) error { return os.Chmod(path, 0o640) }, "chmod 600"},
		"others may write it": {func(path string) error { return os.Chmod(path, 0o602) }, "chmod 600"},
		"no regular file": {func(path string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		}, "no regular file"},
		"no key": {func(path string) error { return os.WriteFile(path, []byte("AGE-SECRET-KEY-MARKER\n"), 0o600) }, "no age secret key"},
		"another user's": {func(path string) error {
			if os.Geteuid() != 0 {
				return errNotRoot
			}
			return os.Chown(path, 1234, 1234)
		}, "belongs to user 1234"},
	} {
		path := filepath.Join(dir, name)
		write(t, path, read(t, p.c.IdentityFile))
		if err := row.prepare(path); errors.Is(err, errNotRoot) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		_, err := backup.Config{IdentityFile: path}.Identities()
		if err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "MARKER") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "no key" {
			continue
		}
		if _, err := backup.LoadConfig(path); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A node without the key makes backups, and says so once one has to be opened.
	ids, err := backup.Config{IdentityFile: filepath.Join(dir, "nowhere")}.Identities()
	if err != nil {
		t.Fatal(err)
	}
	m := p.create(t, database(t, 10))
	if err := backup.Verify(t.Context(), p.s, m, ids, nil); !errors.Is(err, backup.ErrWrongKey) || !strings.Contains(err.Error(), "not there") {
		t.Error(err)
	}
}

var errNotRoot = errors.New("only root gives a file away")

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
	m.Database.StorageVersion = "3.7" // P30, I22
	for etcd, says := range map[string]string{"3.6.9": "storage version is 3.7, and etcd here is 3.6.9", "3.7.3": "", "v3.8.0": "", "": "", "new": "form 3.7.3"} {
		d := backup.Compare(backup.Cluster{EncryptionKeys: same.EncryptionKeys, EtcdVersion: etcd}, m)
		if (len(d) == 1) != (says != "") || says != "" && (d[0].Field != backup.FieldStorageVersion || !strings.Contains(d[0].Text, says)) {
			t.Errorf("etcd %q: %+v", etcd, d)
		}
	}
	m.Database.StorageVersion = ""
	d := backup.Compare(backup.Cluster{EncryptionKeys: []string{"aescbc/key2"}, ServiceAccount: "x", EtcdCA: "y"}, m)
	if len(d) != 3 || d[0].Field != backup.FieldEncryptionKeys || !strings.Contains(d[0].Text, "aescbc/key1") || strings.Contains(d[0].Text, "key2") {
		t.Fatalf("%+v", d)
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
