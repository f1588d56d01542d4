package observe

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/internal/node"
)

// What alerts are made of, beside what metrics.go has.
var (
	memberQuota = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_quota_bytes", Help: "How large the member's database may become; at this size etcd refuses writes.",
	}, []string{"member"})
	memberInUse = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_db_in_use_bytes", Help: "How much of the member's database file is used; the rest is given back by a defragmentation.",
	}, []string{"member"})
	memberAlarm = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_alarm", Help: "1 for each alarm that etcd has raised for the member (NOSPACE, CORRUPT).",
	}, []string{"member", "alarm"})
	clusterServes = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_cluster_serves", Help: "1 if an etcd gave its members with a quorum's consent at the last look, 0 if none did.",
	})
	guardRefuses = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_guard_refuses", Help: "1 where the guard refuses to start etcd on the data that it found.",
	}, []string{"node"})
	certificateEnd = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_certificate_not_after_timestamp_seconds", Help: "When a certificate on a node expires, as Unix time.",
	}, []string{"node", "path"})
)

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() {
	metrics.Registry.MustRegister(memberQuota, memberInUse, memberAlarm, clusterServes, guardRefuses, certificateEnd)
}

// measureForAlerts sets them all anew: what is not there any more must not alert for ever. What is not known is not set.
func measureForAlerts(o Observation, m Membership) {
	for _, v := range []*prometheus.GaugeVec{memberQuota, memberInUse, memberAlarm, guardRefuses, certificateEnd} {
		v.Reset()
	}
	clusterServes.Set(bit(m.Serves))
	for _, x := range m.Members {
		name := x.Name
		if name == "" {
			name = node.FormatID(x.ID)
		}
		if q := x.Etcd.GetQuota(); q > 0 {
			memberQuota.WithLabelValues(name).Set(float64(q))
		}
		if x.Etcd != nil {
			memberInUse.WithLabelValues(name).Set(float64(x.Etcd.GetDbInUse()))
		}
		for _, a := range x.Alarms {
			memberAlarm.WithLabelValues(name, a).Set(1)
		}
	}
	for _, n := range o.Answering() {
		guardRefuses.WithLabelValues(n.Name).Set(bit(n.State.GetGuard().GetState() == "refused"))
		for _, c := range n.State.GetCertificates() {
			if c.GetNotAfter() != nil {
				certificateEnd.WithLabelValues(n.Name, c.GetPath()).Set(float64(c.GetNotAfter().AsTime().Unix()))
			}
		}
	}
}
