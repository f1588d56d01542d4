//go:build integration

package operator_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/agent"
	"clusteretcd.io/ceo/internal/cri/critest"
	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
	"clusteretcd.io/ceo/internal/staticpod"
)

// real is a node with all that is real but the kubelet and the container runtime: its files, its etcd, and its agent at an
// address of its own.
type real struct {
	*host
	runtime *critest.Runtime
}

// newReal3 brings three of them up, without their agents.
func (w *world) newReal3(t testing.TB) []*real {
	t.Helper()
	raw, err := os.ReadFile("../../internal/staticpod/testdata/etcd-guarded.golden")
	must(t, err)
	var hosts []*host
	var initial []string
	for i := range 3 {
		h := w.newHost(t, "cp-"+strconv.Itoa(i+1), "10.99.0.1"+strconv.Itoa(i+1))
		h.etcd.MetricsURL = "http://" + h.address + ":2381"
		must(t, durable.MkdirAll(h.paths.Manifests(), 0o700))
		must(t, staticpod.Place(h.paths.Manifests(), staticpod.EtcdFile, raw))
		hosts, initial = append(hosts, h), append(initial, h.name+"="+h.etcd.PeerURL)
	}
	var out []*real
	for _, h := range hosts {
		h.etcd.Start(t, "--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-token="+t.Name(), "--initial-cluster-state=new")
		must(t, node.Save(h.paths, h.config(hosts...)))
		r := &real{host: h, runtime: critest.Serve(t, h.cri())}
		r.runtime.Run(nil)
		out = append(out, r)
	}
	for _, h := range hosts {
		h.etcd.WaitHealthy(t)
	}
	return out
}

func (h *host) cri() string { return filepath.Join(h.paths.Root, "cri.sock") }

func (h *host) manifest(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(h.paths.Manifests(), staticpod.EtcdFile))
	must(t, err)
	return string(raw)
}

// newAgent is the real agent on the node's own address.
func newAgent(paths node.Paths, own string) (*agent.Agent, error) {
	return agent.New(agent.Options{
		Paths: paths, Version: "test", CRISocket: (&host{paths: paths}).cri(), Own: own, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

// runReal runs it until the test ends.
func (r *real) runReal(t *testing.T) {
	t.Helper()
	a, err := newAgent(r.paths, r.address)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the agent of %s: %v", r.name, err)
		}
	})
}

func (w *world) operatorFiles() pki.Files {
	return pki.Files{Cert: filepath.Join(w.certs, "operator.crt"), Key: filepath.Join(w.certs, "operator.key"), CA: filepath.Join(w.certs, "ca.crt")}
}

// newWorldWithoutAPI is what agents need: the CA, and the operator's certificate.
func newWorldWithoutAPI(t testing.TB) *world {
	t.Helper()
	w := &world{certs: t.TempDir()}
	w.newCA(t)
	w.newOperatorCerts(t)
	return w
}
