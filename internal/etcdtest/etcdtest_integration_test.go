//go:build integration

package etcdtest_test

import (
	"testing"

	"clusteretcd.io/ceo/internal/etcdtest"
)

func TestClusterWithTLSServesAndComesBack(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Members: 3, TLS: true})
	cli := c.Client(t)
	if _, err := cli.Put(etcdtest.Context(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	m := c.Members[0]
	m.Kill(t)
	m.Start(t)
	m.WaitHealthy(t)
	resp, err := m.Client(t).Get(etcdtest.Context(t), "k")
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "v" {
		t.Fatalf("%v, %v", resp, err)
	}
}
