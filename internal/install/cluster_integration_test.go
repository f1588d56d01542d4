//go:build integration

package install

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// start brings up three real members without TLS and connects as an installation does.
func start(t *testing.T) (*etcdtest.Cluster, *cluster) {
	t.Helper()
	ec := etcdtest.Start(t, etcdtest.Options{Members: 3})
	c, err := connect(node.Paths{Root: t.TempDir()}, ec.Endpoints()[0], ec.Endpoints()[1:])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return ec, c
}

func healthOf(v view, name string) etcd.Health {
	for _, m := range v.healthy {
		if m.Name == name {
			return m.Health
		}
	}
	return etcd.Unhealthy
}

// I6, I23, P21: a member that stands still is unknown, which is not healthy; it does not keep the others from being seen
// as they are, and the answer comes within the limit of one member.
func TestHealthOfRealMembers(t *testing.T) {
	ec, c := start(t)
	v, err := c.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range v.healthy {
		if m.Health != etcd.Healthy {
			t.Errorf("%s: %v: %s", m.Name, m.Health, v.why[m.ID])
		}
	}
	if v.leader == 0 || v.clusterID == 0 {
		t.Errorf("leader %x, cluster %x", v.leader, v.clusterID)
	}
	// One that is not the leader, so that the others go on at once.
	frozen := 1
	for i, m := range v.members {
		if m.ID != v.leader && i != 0 {
			for j, em := range ec.Members {
				if em.Name == m.Name {
					frozen = j
				}
			}
		}
	}
	pid := ec.Members[frozen].Pid()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	etcdtest.Eventually(t, "the frozen member is unknown and the others are healthy", func() (bool, string) {
		began := time.Now()
		v, err := c.look(t.Context())
		if err != nil {
			return false, err.Error()
		}
		if took := time.Since(began); took > 4*perMember {
			t.Errorf("one frozen member made the look take %s", took)
		}
		ok := true
		for i, m := range ec.Members {
			want := etcd.Healthy
			if i == frozen {
				want = etcd.Unknown
			}
			ok = ok && healthOf(v, m.Name) == want
		}
		return ok, time.Since(began).String()
	})
	f := Facts{Members: nil, Why: map[uint64]string{}}
	v, err = c.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.Members, f.Why = v.healthy, v.why
	for _, m := range v.healthy {
		f.Self = m.ID
		err := mayRestart(f, true)
		if isFrozen := m.Name == ec.Members[frozen].Name; (err == nil) != isFrozen {
			t.Errorf("may %s be restarted while %s is frozen: %v", m.Name, ec.Members[frozen].Name, err)
		}
	}
}

func TestMoveLeaderAway(t *testing.T) {
	ec, c := start(t)
	v, err := c.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var leader *etcdtest.Member
	for _, m := range v.members {
		for i, em := range ec.Members {
			if m.ID == v.leader && em.Name == m.Name {
				leader = ec.Members[i]
			}
		}
	}
	onLeader, err := connect(node.Paths{Root: t.TempDir()}, leader.ClientURL, ec.Endpoints())
	if err != nil {
		t.Fatal(err)
	}
	defer onLeader.close()
	if err := onLeader.moveLeader(t.Context(), v, v.leader); err != nil {
		t.Fatal(err)
	}
	after, err := c.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.leader == v.leader {
		t.Error("it still leads")
	}
	if err := c.caughtUp(t.Context(), 30*time.Second); err != nil {
		t.Error(err)
	}
}

func TestNodesWithCeoAreNoted(t *testing.T) {
	_, c := start(t)
	for _, name := range []string{"cp-1", "cp-2"} {
		if err := c.note(t.Context(), name, true); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.installed(t.Context(), "cp-1")
	if err != nil || len(got) != 1 || got[0] != "cp-2" {
		t.Errorf("%v %v", got, err)
	}
	if err := c.note(t.Context(), "cp-2", false); err != nil {
		t.Fatal(err)
	}
	if got, err := c.installed(t.Context(), "cp-1"); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
}

func TestSavedManifestIsByteForByte(t *testing.T) {
	p := node.Paths{Root: t.TempDir()}
	raw, err := os.ReadFile("../staticpod/testdata/etcd-kubeadm-1.37.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := saveKubeadm(p, raw); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(p.Kubeadm(), "etcd.yaml"))
	if err != nil || string(got) != string(raw) {
		t.Errorf("not the same: %v", err)
	}
}
