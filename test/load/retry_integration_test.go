//go:build integration

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/test/harness"
)

// TestRetryingClients: a client whose member is gone is answered by another at its second try, certificates are read again
// for each connection, and what fails twice is told from what does not.
func TestRetryingClients(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{Members: 3, TLS: true})
	certs, out := t.TempDir(), filepath.Join(t.TempDir(), "ops.jsonl")
	trust := func(ca string) {
		t.Helper()
		must(t, os.Symlink(ca, filepath.Join(certs, "new")))
		must(t, os.Rename(filepath.Join(certs, "new"), filepath.Join(certs, "ca.crt")))
	}
	trust(etcd.PKI.CA)
	must(t, os.Symlink(etcd.PKI.ClientCert, filepath.Join(certs, "client.crt")))
	must(t, os.Symlink(etcd.PKI.ClientKey, filepath.Join(certs, "client.key")))
	r := &recorder{
		endpoints: etcd.Endpoints(), prefix: "/t/", clients: 6, keys: 2, every: 5 * time.Millisecond, timeout: 5 * time.Second,
		retry: true, redial: 300 * time.Millisecond,
	}
	ctx, stop := context.WithCancel(etcdtest.Context(t))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.record(ctx, certs, out) }()
	until := func(what string, is func(ops []harness.Op) bool) {
		t.Helper()
		from := len(read(t, out))
		etcdtest.Eventually(t, what, func() (bool, string) {
			ops := read(t, out)[from:]
			return is(ops), fmt.Sprint(len(ops))
		})
	}
	answers := func(ops []harness.Op) bool { return len(answered(ops)) >= 200 }

	until("answers", answers)
	etcd.Members[2].Stop(t)
	until("a second try that is answered by another member", func(ops []harness.Op) bool {
		for _, o := range ops {
			if o.Again && o.Outcome != harness.Unknown && o.Member != etcd.Members[2].ClientURL {
				return true
			}
		}
		return false
	})
	etcd.Members[2].Start(t)
	etcd.Members[2].WaitHealthy(t)
	// Of a CA that no member is of, nothing can be asked: each connection that is begun from now on fails, and so do both
	// tries.
	trust(etcdtest.NewPKI(t, t.TempDir()).CA)
	until("something to fail twice", func(ops []harness.Op) bool { return len(harness.FailedTwice(ops)) > 0 })
	trust(etcd.PKI.CA)
	until("answers again", answers)
	stop()
	must(t, <-ended)
	if err := harness.Check(read(t, out), etcdtest.WaitFor).Err(); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
