package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/datadir"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

// measures are what /metrics says. All but the counts are looked up when they are asked for: an agent that nobody
// scrapes does nothing for it.
type measures struct {
	agent    *Agent
	registry *prometheus.Registry
	rpcs     *prometheus.CounterVec
	// proven is when the newest proven backup was proven, as Unix time, by the last catalogue that was read here; 0 for none.
	proven atomic.Int64
}

var (
	infoDesc = prometheus.NewDesc("ceo_agent_info", "1, with the version of ceo and the node's name.", []string{"version", "node"}, nil)
	etcdDesc = prometheus.NewDesc("ceo_agent_etcd_healthy", "1 where this node's etcd answers and has a leader.", nil, nil)
	openDesc = prometheus.NewDesc("ceo_agent_recovery_open", "1 while a recovery's journal is open on this node.", nil, nil)
	certDesc = prometheus.NewDesc("ceo_agent_certificate_expiry_timestamp_seconds",
		"When a certificate on this node expires, as Unix time.", []string{"certificate"}, nil)
	guardDesc = prometheus.NewDesc("ceo_agent_guard_state", "1 for the state that the guard of etcd is in; none where it does not answer.", []string{"state"}, nil)
	freeDesc  = prometheus.NewDesc("ceo_agent_disk_free_bytes", "Free space where etcd's data lies.", nil, nil)
	totalDesc = prometheus.NewDesc("ceo_agent_disk_size_bytes", "Size of the file system where etcd's data lies.", nil, nil)
	// Its age is time() less it.
	provenDesc = prometheus.NewDesc("ceo_agent_backup_last_proven_timestamp_seconds",
		"When the newest proven backup of this node's catalogue was proven, as Unix time; missing until the catalogue was read.", nil, nil)
)

func newMeasures(a *Agent) *measures {
	m := &measures{agent: a, registry: prometheus.NewRegistry(), rpcs: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ceo_agent_rpcs_total", Help: "Calls that were answered, by method and code.",
	}, []string{"method", "code"})}
	m.registry.MustRegister(m, m.rpcs, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Describe implements prometheus.Collector.
func (m *measures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, etcdDesc, openDesc, certDesc, guardDesc, freeDesc, totalDesc, provenDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What cannot be looked up is missing, not zero.
func (m *measures) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), inspectLimit)
	defer cancel()
	a := m.agent
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(infoDesc, 1, a.version, a.Config().Name)
	e := a.etcd.state(ctx)
	gauge(etcdDesc, bit(e.GetAnswers() && e.GetHasLeader()))
	gauge(openDesc, bit(a.recover.current() != nil))
	if g := a.guardState(ctx); g.GetState() != "" {
		gauge(guardDesc, 1, g.GetState())
	} else {
		gauge(guardDesc, 1, "none")
	}
	for _, c := range pki.Inspect(a.paths.KubernetesPKI(), a.paths.PKI()) {
		if c.Error == "" {
			gauge(certDesc, float64(c.NotAfter.Unix()), strings.TrimPrefix(c.Path, a.paths.Root))
		}
	}
	if free, total, err := datadir.Space(a.Config().DataDir); err == nil {
		gauge(freeDesc, float64(free))
		gauge(totalDesc, float64(total))
	}
	if at := m.proven.Load(); at > 0 {
		gauge(provenDesc, float64(at))
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// serve answers /metrics, /healthz and /readyz in plain HTTP until ctx ends. It is no reason for an agent not to serve:
// that the port cannot be had is logged.
func (m *measures) serve(ctx context.Context, address string) error {
	if address == "" || address == "0" {
		<-ctx.Done()
		return ctx.Err()
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		m.agent.log.Error("no metrics are served", "address", address, "error", err)
		<-ctx.Done()
		return ctx.Err()
	}
	s := &http.Server{Handler: m.handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second}
	go func() {
		<-ctx.Done()
		_ = s.Close()
	}()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics on %s: %w", address, err)
	}
	return ctx.Err()
}

func (m *measures) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: 10 * time.Second}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		// Ready is who can be asked; that etcd is well is not the agent's to promise.
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(r.Context(), "unix", m.agent.paths.AgentSocket())
		if err != nil {
			http.Error(w, "the agent does not take calls: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = conn.Close()
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

// counting counts every call, those that are refused included.
func (m *measures) counting() grpc.ServerOption { return grpc.StatsHandler(counter{m.rpcs}) }

type counter struct{ rpcs *prometheus.CounterVec }

type methodKey struct{}

// TagRPC implements stats.Handler.
func (counter) TagRPC(ctx context.Context, i *stats.RPCTagInfo) context.Context {
	name := path.Base(i.FullMethodName)
	if _, ok := table[name]; !ok {
		name = "unknown" // a caller chooses it, and each would be one more series
	}
	return context.WithValue(ctx, methodKey{}, name)
}

// HandleRPC implements stats.Handler.
func (c counter) HandleRPC(ctx context.Context, s stats.RPCStats) {
	end, ok := s.(*stats.End)
	if !ok {
		return
	}
	name, _ := ctx.Value(methodKey{}).(string)
	c.rpcs.WithLabelValues(name, status.Code(end.Error).String()).Inc()
}

// TagConn implements stats.Handler.
func (counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (counter) HandleConn(context.Context, stats.ConnStats) {}

// MetricsAddress is where an agent serves its metrics by default: on its node alone, as kubeadm's etcd does.
var MetricsAddress = fmt.Sprintf("127.0.0.1:%d", node.AgentMetricsPort)
