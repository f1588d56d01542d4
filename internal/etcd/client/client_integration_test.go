//go:build integration

package client

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcdtest"
)

// The client's certificates under kubeadm's names.
func kubeadmPKI(t *testing.T, p *etcdtest.PKI) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{p.CA: "ca.crt", p.ClientCert: "healthcheck-client.crt", p.ClientKey: "healthcheck-client.key"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAgainstARealClusterWithTLS(t *testing.T) {
	cluster := etcdtest.Start(t, etcdtest.Options{Members: 2, TLS: true})
	config, err := HealthcheckTLS(kubeadmPKI(t, cluster.PKI))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Ask(etcdtest.Context(t), cluster.Members[0].ClientURL, config)
	if err != nil || !m.Linearizable || len(m.Members) != 2 || m.ClusterID == 0 {
		t.Fatalf("%+v %v", m, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := Ask(short, cluster.Members[0].ClientURL, nil); err == nil {
		t.Error("without a certificate it answers")
	}

	c, err := Dial(cluster.Endpoints(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := c.Status(etcdtest.Context(t), cluster.Members[0].ClientURL)
	if err != nil || s.ClusterID != m.ClusterID || s.Version != etcdtest.Version || s.Leader == 0 || s.AppliedIndex == 0 {
		t.Errorf("%+v %v", s, err)
	}

	learner := etcdtest.NewMember(t, "x", t.TempDir(), cluster.PKI)
	var added Member
	etcdtest.Eventually(t, "a learner to be added", func() (bool, string) {
		var err error
		if added, err = c.AddLearner(etcdtest.Context(t), learner.PeerURL); err != nil {
			return false, err.Error() // until the members have been connected for 5 s
		}
		return true, ""
	})
	if added.ID == 0 || added.Name != "" || !added.Learner {
		t.Errorf("added %+v", added)
	}
	if err := c.Promote(etcdtest.Context(t), added.ID); err == nil {
		t.Error("I8: a learner that never ran was promoted")
	}
	if err := c.Remove(etcdtest.Context(t), added.ID); err != nil {
		t.Error(err)
	}

	// Without a quorum: the member's own view, and marked so (P12).
	cluster.Members[1].Kill(t)
	etcdtest.Eventually(t, "the quorum to be lost", func() (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		own, err := Ask(ctx, cluster.Members[0].ClientURL, config)
		return err == nil && !own.Linearizable && len(own.Members) == 2, "still confirmed"
	})
	if _, err := Ask(etcdtest.Context(t), cluster.Members[1].ClientURL, config); err == nil {
		t.Error("a dead member answers")
	}
}
