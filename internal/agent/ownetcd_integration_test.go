//go:build integration

package agent

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestOwnEtcdKeepsItsConnection: a handshake costs etcd and the agent more than what is asked, so looks share one connection
// for a while; an etcd that was restarted in between answers the first look after it all the same.
func TestOwnEtcdKeepsItsConnection(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{TLS: true})
	dir := t.TempDir()
	for name, file := range map[string]string{"ca.crt": c.PKI.CA, "healthcheck-client.crt": c.PKI.ClientCert, "healthcheck-client.key": c.PKI.ClientKey} {
		if err := os.Symlink(file, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	proxy, accepted := countingProxy(t, strings.TrimPrefix(c.Members[0].ClientURL, "https://"))
	e := newOwnEtcd(dir, "")
	e.url = "https://" + proxy
	t.Cleanup(func() { _ = e.Close() })
	looks := func(what string) (connections int64) {
		t.Helper()
		before := accepted.Load()
		for range 10 {
			if s := e.state(etcdtest.Context(t)); !s.GetAnswers() || !s.GetMembersLinearizable() {
				t.Fatalf("%s: %v", what, s)
			}
		}
		return accepted.Load() - before
	}
	// One to see whether anything listens, and the one that is used.
	if n := looks("the first looks"); n != 2 {
		t.Errorf("ten looks made %d connections", n)
	}
	if n := looks("more of them"); n != 0 {
		t.Errorf("ten more made %d", n)
	}
	e.since = time.Now().Add(-connectionLife)
	if n := looks("looks on an old connection"); n != 2 {
		t.Errorf("instead of the old one %d were made", n)
	}
	c.Members[0].Kill(t)
	if s := e.state(etcdtest.Context(t)); s.GetAnswers() {
		t.Errorf("an etcd that is gone answers: %v", s)
	}
	c.Members[0].Start(t)
	c.Members[0].WaitHealthy(t)
	looks("looks at an etcd that came back")
	c.Members[0].Stop(t)
	c.Members[0].Start(t)
	c.Members[0].WaitHealthy(t)
	looks("looks at an etcd that was restarted between two of them")
}

// countingProxy passes everything on, and counts the connections.
func countingProxy(t *testing.T, to string) (address string, accepted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	accepted = &atomic.Int64{}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			go func() {
				defer func() { _ = in.Close() }()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer func() { _ = out.Close() }()
				go func() {
					_, _ = io.Copy(in, out)
					_ = in.Close()
				}()
				_, _ = io.Copy(out, in)
			}()
		}
	}()
	return l.Addr().String(), accepted
}
