//go:build integration

package snapshot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/snapshot"
)

func TestSaveOverTLSSaysWhatTheServerAndEtcdutlSay(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	cli, ctx := c.Client(t), etcdtest.Context(t)
	for i := range 500 {
		if _, err := cli.Put(ctx, fmt.Sprintf("/registry/configmaps/ns/%03d", i%100), strings.Repeat("x", 300)); err != nil {
			t.Fatal(err)
		}
	}
	lease, err := cli.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	_ = lease
	for i := range 10 {
		if _, err := cli.Delete(ctx, fmt.Sprintf("/registry/configmaps/ns/%03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	compacted, err := cli.Compact(ctx, 400)
	if err != nil {
		t.Fatal(err)
	}
	rev := compacted.Header.Revision

	path := filepath.Join(t.TempDir(), "snapshot.db")
	var done, total int64
	cfg := snapshot.Config{Endpoints: []string{"https://127.0.0.1:1", c.Members[0].ClientURL}, TLS: c.PKI.ClientTLS(t)}
	info, err := snapshot.Save(ctx, cfg, path, func(d, of int64) { done, total = d, of })
	if err != nil {
		t.Fatal(err)
	}
	if info.Revision != rev || info.CompactRevision != 400 || info.LiveKeys != 90 || info.Leases != 1 || !info.HashPresent {
		t.Fatalf("info %+v, want revision %d (P15), compact 400, 90 live keys, 1 lease", info, rev)
	}
	if len(info.Members) != 1 || info.Members[0].Name != "m1" || info.StorageVersion != "3.7" || !strings.HasPrefix(info.ClusterVersion, "3.7") {
		t.Fatalf("info %+v", info)
	}
	if done != info.Size || total < done {
		t.Fatalf("progress ended at %d of %d, size %d", done, total, info.Size)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 || st.Size() != info.Size {
		t.Fatalf("%v, %v", st, err)
	}
	if _, err := os.Stat(path + ".part"); err == nil {
		t.Fatal(".part is left")
	}

	out, err := exec.Command(filepath.Join(etcdtest.BinDir(t), "etcdutl"), "snapshot", "status", path, "-w", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var st2 struct {
		Revision int64 `json:"revision"`
		TotalKey int64 `json:"totalKey"`
		Version  string
	}
	if err := json.Unmarshal(out, &st2); err != nil {
		t.Fatal(err)
	}
	if st2.Revision != info.Revision || st2.TotalKey != info.LiveKeys {
		t.Fatalf("etcdutl says %+v, we say %+v", st2, info)
	}

	if _, err := snapshot.Save(ctx, cfg, path, nil); !errors.Is(err, snapshot.ErrExists) {
		t.Fatalf("overwrote: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := snapshot.Save(gone, cfg, path+"2", nil); err == nil {
		t.Fatal("saved with a cancelled context")
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}

// TestSaveInterrupted: the server dies in the middle of the stream. Nothing is left that looks like a snapshot (P14).
func TestSaveInterrupted(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	m, ctx := c.Members[0], etcdtest.Context(t)
	cli := m.Client(t)
	for i := range 60 { // more than the windows of the stream hold
		if _, err := cli.Put(ctx, fmt.Sprint(i), strings.Repeat("x", 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "s.db")
	killed := false
	_, err := snapshot.Save(ctx, snapshot.Config{Endpoints: c.Endpoints()}, path, func(int64, int64) {
		if !killed {
			killed = true
			m.Kill(t)
		}
	})
	if err == nil || !killed {
		t.Fatalf("saved from a dead server: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	t.Log(err)
}
