//go:build integration

package client_test

import (
	"testing"

	"clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// TestHashNamesItsRevision: 3.5 does not, and members that were asked at different moments would seem to differ.
func TestHashNamesItsRevision(t *testing.T) {
	for version, bin := range map[string]string{
		etcdtest.Version35: etcdtest.OldBinDir(t, etcdtest.Version35), etcdtest.Version36: etcdtest.OldBinDir(t, etcdtest.Version36), etcdtest.Version: etcdtest.BinDir(t),
	} {
		t.Run(version, func(t *testing.T) {
			m := etcdtest.Start(t, etcdtest.Options{Bin: bin}).Members[0]
			c, err := client.Dial([]string{m.ClientURL}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			put := func() {
				if _, err := m.Client(t).Put(etcdtest.Context(t), "k", "v"); err != nil {
					t.Fatal(err)
				}
			}
			put()
			first, err := c.HashKV(etcdtest.Context(t), m.ClientURL, 0)
			if err != nil || first.Revision != 2 {
				t.Fatalf("%+v, %v", first, err)
			}
			put()
			if again, err := c.HashKV(etcdtest.Context(t), m.ClientURL, first.Revision); err != nil || again != first {
				t.Errorf("%+v, then %+v at the same revision: %v", first, again, err)
			}
		})
	}
}
