package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/node"
)

var (
	agentUp = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_agent_up", Help: "1 where the node's agent answered the last look.",
	}, []string{"node"})
	agentSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ceo_agent_inspect_seconds", Help: "How long an agent took to describe its node.",
		Buckets: []float64{.01, .05, .1, .5, 1, 2, 4},
	}, []string{"node"})
	memberHealthy = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_healthy", Help: "1 healthy, 0 unhealthy, -1 unknown.",
	}, []string{"member"})
	memberSize = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_db_size_bytes", Help: "Size of the member's database file.",
	}, []string{"member"})
	memberRevision = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_revision", Help: "Revision of the member's key space.",
	}, []string{"member"})
	recoveryOpen = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_recovery_open", Help: "1 while a recovery's journal is open on any agent.",
	})
	epoch = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_cluster_epoch", Help: "How many recoveries there were.",
	})
	provenAge = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_backup_last_proven_age_seconds", Help: "How long ago a backup was last proven; +Inf if none was, NaN if no catalogue was read yet.",
	})
	provenAgeLimit = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_backup_last_proven_age_limit_seconds", Help: "How long ago it may be, by the schedules.",
	})
	provenAt = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_backup_last_proven_timestamp_seconds", Help: "When a backup was last proven, as Unix time; 0 if none was.",
	})
	observedAt = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_observation_timestamp_seconds", Help: "When everything was last looked at, as Unix time.",
	})
)

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() {
	metrics.Registry.MustRegister(agentUp, agentSeconds, memberHealthy, memberSize, memberRevision, recoveryOpen, epoch, provenAt, provenAge, provenAgeLimit, observedAt)
}

func agentLook(name string, took time.Duration, ok bool) {
	agentSeconds.WithLabelValues(name).Observe(took.Seconds())
	agentUp.WithLabelValues(name).Set(bit(ok))
}

func forgetNode(name string) {
	agentSeconds.DeleteLabelValues(name)
	agentUp.DeleteLabelValues(name)
}

func measure(o Observation) {
	observedAt.Set(float64(o.At.Unix()))
	r, _ := o.OpenRecovery()
	recoveryOpen.Set(bit(r != nil))
	if p := o.Backups.Proven; p != nil {
		provenAt.Set(float64(p.Proof.At.Unix()))
	}
	provenAge.Set(age(o))
	provenAgeLimit.Set(o.MaxProofAge().Seconds())
	m := o.Membership()
	epoch.Set(float64(m.Epoch))
	measureForAlerts(o, m)
	memberHealthy.Reset()
	memberSize.Reset()
	memberRevision.Reset()
	for _, x := range m.Members {
		name := x.Name
		if name == "" {
			name = node.FormatID(x.ID)
		}
		health := map[etcd.Health]float64{etcd.Healthy: 1, etcd.Unhealthy: 0, etcd.Unknown: -1}[x.Health]
		memberHealthy.WithLabelValues(name).Set(health)
		if x.Etcd != nil {
			memberSize.WithLabelValues(name).Set(float64(x.Etcd.GetDbSize()))
			memberRevision.WithLabelValues(name).Set(float64(x.Etcd.GetRevision()))
		}
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
