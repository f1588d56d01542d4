//go:build integration

package operator_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	agentclient "clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/cri/critest"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

// TestPlaceRevision is the agent's side with nothing replaced but the container runtime: the agent, its files, its etcd.
func TestPlaceRevision(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	h := w.newHost(t, "cp-1", "127.0.0.1")
	h.etcd.MetricsURL = "http://127.0.0.1:2381"
	raw, err := os.ReadFile("../../internal/staticpod/testdata/etcd-guarded.golden")
	must(t, err)
	must(t, durable.MkdirAll(h.paths.Manifests(), 0o700))
	must(t, staticpod.Place(h.paths.Manifests(), staticpod.EtcdFile, raw))
	h.etcd.Start(t, "--initial-cluster=cp-1="+h.etcd.PeerURL, "--initial-cluster-token=place", "--initial-cluster-state=new")
	h.etcd.WaitHealthy(t)
	must(t, node.Save(h.paths, h.config()))
	socket := filepath.Join(h.paths.Root, "cri.sock")
	runtime := critest.Serve(t, socket)
	runtime.Run(nil)
	a, err := agent.New(agent.Options{Paths: h.paths, Version: "test", CRISocket: socket, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the agent: %v", err)
		}
	})
	pool := agentclient.NewPool(pki.Files{Cert: filepath.Join(w.certs, "operator.crt"), Key: filepath.Join(w.certs, "operator.key"), CA: filepath.Join(w.certs, "ca.crt")})
	t.Cleanup(func() { _ = pool.Close() })
	c, err := pool.Agent("127.0.0.1")
	must(t, err)
	var s *agentpb.NodeState
	look := func(what string, ok func(*agentpb.Revisions) bool) {
		t.Helper()
		etcdtest.Eventually(t, what, func() (bool, string) {
			s, err = c.Inspect(etcdtest.Context(t), &agentpb.InspectRequest{Quick: true})
			if err != nil {
				return false, err.Error()
			}
			return ok(s.GetRevisions()), s.GetRevisions().String()
		})
	}
	place := func(content staticpod.Content, change func(*agentpb.PlaceRevisionRequest)) error {
		t.Helper()
		j, err := json.Marshal(content)
		must(t, err)
		req := &agentpb.PlaceRevisionRequest{Content: j, Revision: content.Hash(), ClusterId: s.GetEtcd().GetClusterId(), Reason: "a test"}
		if change != nil {
			change(req)
		}
		_, err = c.PlaceRevision(etcdtest.Context(t), req)
		return err
	}
	manifest := func() string {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(h.paths.Manifests(), staticpod.EtcdFile))
		must(t, err)
		return string(raw)
	}

	// Adopted: what runs has a name by what it holds, and is good once it was seen to be for a while.
	look("the adopted revision to be good", func(r *agentpb.Revisions) bool {
		return r.GetError() == "" && r.GetPlaced() != "" && r.GetRunning() == r.GetPlaced() && r.GetLastGood() == r.GetPlaced()
	})
	first := s.GetRevisions().GetPlaced()

	quota := staticpod.Content{QuotaBytes: 4 << 30}
	refused := func(what string, err error, code codes.Code) {
		t.Helper()
		if status.Code(err) != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
		if manifest() != string(raw) {
			t.Fatalf("%s: the manifest was changed", what)
		}
	}
	refused("another cluster (I5)", place(quota, func(r *agentpb.PlaceRevisionRequest) { r.ClusterId = "abc" }), codes.FailedPrecondition)
	refused("another name", place(quota, func(r *agentpb.PlaceRevisionRequest) { r.Revision = "abc" }), codes.InvalidArgument)
	refused("no content", place(quota, func(r *agentpb.PlaceRevisionRequest) { r.Content = nil }), codes.InvalidArgument)
	refused("nothing to go back to", place(quota, func(r *agentpb.PlaceRevisionRequest) { r.RollBack = true }), codes.FailedPrecondition)
	missing := staticpod.Content{Version: "3.7.3", Image: "registry.k8s.io/missing:3.7.3-0"}
	refused("an image that is missing", place(missing, nil), codes.NotFound)
	must(t, durable.WriteJSON(h.paths.Hold(), node.Hold{ID: "recovery/r"}, 0o600))
	refused("a hold (P17)", place(quota, nil), codes.FailedPrecondition)
	must(t, os.Remove(h.paths.Hold()))

	must(t, place(quota, nil))
	must(t, place(quota, nil)) // I20
	look("it to be placed and not to run", func(r *agentpb.Revisions) bool {
		return r.GetPlaced() == quota.Hash() && r.GetRunning() == "" && r.GetLastGood() == first
	})
	// The kubelet does its part.
	runtime.Run(map[string]string{staticpod.RevisionAnnotation: quota.Hash()})
	look("it to run", func(r *agentpb.Revisions) bool { return r.GetRunning() == quota.Hash() })

	// Its etcd is down, and with it the lock: unlocked, it is put back.
	h.etcd.Kill(t)
	back := func(r *agentpb.PlaceRevisionRequest) { r.Content, r.Revision, r.RollBack = nil, "", true }
	if s.GetRevisions().GetLastGood() == first { // unless it was seen to be good already
		if err := place(quota, back); err == nil {
			t.Error("without the lock it was restarted, and nobody had allowed that")
		}
		must(t, place(quota, func(r *agentpb.PlaceRevisionRequest) { back(r); r.Unlocked = true }))
		if manifest() != string(raw) {
			t.Error("it is not what it was")
		}
		look("what it went back from", func(r *agentpb.Revisions) bool {
			return r.GetRolledBackFrom() == quota.Hash() && r.GetPlaced() == first
		})
	}

	// An image that can be pulled, once etcd is there again.
	h.etcd.Start(t)
	h.etcd.WaitHealthy(t)
	offered := staticpod.Content{Version: "3.7.3", Image: "registry.k8s.io/etcd:3.7.3-0"}
	runtime.Offer(offered.Image)
	etcdtest.Eventually(t, "the new image to be placed", func() (bool, string) {
		err := place(offered, func(r *agentpb.PlaceRevisionRequest) { r.Unlocked = true })
		return err == nil, status.Convert(err).Message()
	})
}
