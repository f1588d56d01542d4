//go:build integration

package operator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/staticpod"
)

// TestPutBackWhileOneIsDown: three real etcds and agents, one etcd of which is down. A node whose kubelet never took its
// new manifest up is put back all the same, and nothing that serves is restarted (P22); one whose new manifest runs is
// not, since its vote is the quorum's (I6).
func TestPutBackWhileOneIsDown(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorldWithoutAPI(t)
	nodes := w.newReal3(t)
	for _, n := range nodes {
		n.runReal(t)
	}
	pool := agentclient.NewPool(w.operatorFiles())
	t.Cleanup(func() { _ = pool.Close() })
	look := func(n *real, what string, ok func(*agentpb.NodeState) bool) *agentpb.NodeState {
		t.Helper()
		c, err := pool.Agent(n.address)
		must(t, err)
		var s *agentpb.NodeState
		etcdtest.Eventually(t, n.name+" to be "+what, func() (bool, string) {
			if s, err = c.Inspect(etcdtest.Context(t), &agentpb.InspectRequest{Quick: true}); err != nil {
				return false, err.Error()
			}
			return ok(s), s.GetRevisions().String() + s.GetEtcd().GetError()
		})
		return s
	}
	place := func(n *real, content staticpod.Content, back bool) error {
		t.Helper()
		c, err := pool.Agent(n.address)
		must(t, err)
		req := &agentpb.PlaceRevisionRequest{RollBack: back, Reason: "a test"}
		if !back {
			req.Content, err = json.Marshal(content)
			must(t, err)
			req.Revision = content.Hash()
		}
		_, err = c.PlaceRevision(etcdtest.Context(t), req)
		return err
	}
	serving := func(s *agentpb.NodeState) bool { return s.GetEtcd().GetAnswers() && s.GetEtcd().GetHasLeader() }
	allServe := func() {
		t.Helper()
		for _, n := range nodes {
			look(n, "healthy", serving)
		}
	}

	first := ""
	for _, n := range nodes {
		s := look(n, "good with what it was adopted with", func(s *agentpb.NodeState) bool {
			r := s.GetRevisions()
			return serving(s) && r.GetError() == "" && r.GetPlaced() != "" && r.GetRunning() == r.GetPlaced() && r.GetLastGood() == r.GetPlaced()
		})
		first = s.GetRevisions().GetPlaced()
	}
	silent, down := nodes[1], nodes[2]
	before, pid := silent.manifest(t), silent.etcd.Pid()
	quota := staticpod.Content{QuotaBytes: 4 << 30}
	// A lock that another's look just let go of, or a look that took too long on a busy machine, is no answer.
	etcdtest.Eventually(t, "the revision to be placed", func() (bool, string) {
		err := place(silent, quota, false)
		return err == nil, status.Convert(err).Message()
	})
	look(silent, "given a revision that it does not take up", func(s *agentpb.NodeState) bool {
		return s.GetRevisions().GetPlaced() == quota.Hash() && s.GetRevisions().GetRunning() != quota.Hash()
	})
	down.etcd.Kill(t)
	look(down, "down", func(s *agentpb.NodeState) bool { return !s.GetEtcd().GetAnswers() })
	look(silent, "healthy", serving) // the one that is down may have led

	// P22, I6: the only voter that is left beside it must not be restarted; its vote is not there.
	if err := place(nodes[0], quota, false); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("of two voters that are left one was restarted: %v", err)
	}
	etcdtest.Eventually(t, "it to be put back", func() (bool, string) {
		err := place(silent, quota, true)
		return err == nil, status.Convert(err).Message()
	})
	if silent.manifest(t) != before {
		t.Error("it is not what it was")
	}
	s := look(silent, "back and healthy", func(s *agentpb.NodeState) bool {
		r := s.GetRevisions()
		return serving(s) && r.GetPlaced() == first && r.GetRunning() == first && r.GetRolledBackFrom() == quota.Hash()
	})
	if !silent.etcd.Running() || silent.etcd.Pid() != pid {
		t.Errorf("etcd was restarted: %s", s.GetEtcd())
	}

	// The same revision again, and now the kubelet takes it up.
	down.etcd.Start(t)
	down.etcd.WaitHealthy(t)
	allServe()
	etcdtest.Eventually(t, "the revision to be placed again", func() (bool, string) {
		err := place(silent, quota, false)
		return err == nil, status.Convert(err).Message()
	})
	down.etcd.Kill(t)
	look(down, "down", func(s *agentpb.NodeState) bool { return !s.GetEtcd().GetAnswers() })
	look(silent, "healthy", serving)
	placed := silent.manifest(t)
	// It is good after three looks of its agent, and then there is nothing to go back from.
	silent.runtime.Run(map[string]string{staticpod.RevisionAnnotation: quota.Hash()})
	err := place(silent, quota, true)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "must not be restarted now") {
		t.Errorf("I6: %v", err)
	}
	if silent.manifest(t) != placed {
		t.Error("I6: its manifest was changed while the quorum needs it")
	}
	look(silent, "healthy with it", func(s *agentpb.NodeState) bool { return serving(s) && s.GetRevisions().GetRunning() == quota.Hash() })
	if !silent.etcd.Running() || silent.etcd.Pid() != pid {
		t.Error("etcd was restarted")
	}
}
