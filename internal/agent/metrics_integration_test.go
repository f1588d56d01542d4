//go:build integration

package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/stats"

	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// The agent's metrics, over HTTP: what it knows is there, what it does not know is missing and not zero, and a caller
// cannot make series.
func TestMetrics(t *testing.T) {
	root, err := os.MkdirTemp("", "ceo") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	p := node.Paths{Root: root}
	dir := filepath.Join(root, "var/lib/etcd")
	for _, d := range []string{p.State(), p.Run(), dir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a := &Agent{
		paths: p, version: "test", log: slog.New(slog.NewTextHandler(io.Discard, nil)), etcd: newOwnEtcd(p.EtcdPKI(), ""),
		config: node.Config{Name: "cp-1", Address: "127.0.0.1", DataDir: dir},
	}
	a.recover.agent = a
	m := newMeasures(a)
	a.measures = m
	ctx, cancel := context.WithCancel(t.Context())
	address, done := etcdtest.FreeAddr(t), make(chan error, 1)
	go func() { done <- m.serve(ctx, address) }()
	get := func(path string) (int, string) {
		res, err := http.Get("http://" + address + path) //nolint:noctx // a test
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err.Error()
		}
		return res.StatusCode, string(b)
	}
	etcdtest.Eventually(t, "it to be alive", func() (bool, string) {
		code, text := get("/healthz")
		return code == http.StatusOK, text
	})
	if code, _ := get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("ready without its socket: %d", code)
	}
	l, err := a.listenSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if code, text := get("/readyz"); code != http.StatusOK {
		t.Errorf("not ready: %d %s", code, text)
	}
	h := counter{m.rpcs}
	for _, name := range []string{"/x/Inspect", "/x/Invented"} {
		h.HandleRPC(h.TagRPC(t.Context(), tag(name)), end(nil))
	}
	_, text := get("/metrics")
	for _, want := range []string{
		`ceo_agent_info{node="cp-1",version="test"} 1`, "ceo_agent_etcd_healthy 0", `ceo_agent_guard_state{state="none"} 1`, "ceo_agent_disk_free_bytes ",
		`ceo_agent_rpcs_total{code="OK",method="Inspect"} 1`, `ceo_agent_rpcs_total{code="OK",method="unknown"} 1`, "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "ceo_agent_backup_last_proven") || strings.Contains(text, "Invented") {
		t.Error("it says what it does not know")
	}
	m.proven.Store(1)
	if _, text = get("/metrics"); !strings.Contains(text, "ceo_agent_backup_last_proven_timestamp_seconds 1") {
		t.Error("no proven backup")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func tag(name string) *stats.RPCTagInfo { return &stats.RPCTagInfo{FullMethodName: name} }

func end(err error) stats.RPCStats { return &stats.End{Error: err} }
