package maintenance

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/internal/etcd/maintenance"
)

var (
	actions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ceo_maintenance_actions_total", Help: "Steps of maintenance by kind (compact, defragment, disarm, fence, move-leader, release, remove) and result (done, failed).",
	}, []string{"kind", "result"})
	reclaimed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ceo_maintenance_reclaimed_bytes_total", Help: "Bytes that defragmentations gave back.",
	})
	inUse = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_db_in_use_bytes", Help: "What would be left of the member's database file after a defragmentation.",
	}, []string{"member"})
	quota = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_quota_bytes", Help: "The member's quota, at which etcd refuses every write.",
	}, []string{"member"})
	alarms = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_member_alarm", Help: "1 for each alarm that is raised.",
	}, []string{"member", "alarm"})
	hashChecked = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_hash_check_timestamp_seconds", Help: "When the members' data was last compared, as Unix time; 0 before the first time.",
	})
	hashDiffers = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_hash_check_mismatch", Help: "1 if the members' data differed when it was last compared.",
	})
)

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() {
	metrics.Registry.MustRegister(actions, reclaimed, inUse, quota, alarms, hashChecked, hashDiffers)
}

func measure(v maintenance.View) {
	inUse.Reset()
	quota.Reset()
	alarms.Reset()
	for _, m := range v.Members {
		if m.Answers {
			inUse.WithLabelValues(v.Cluster.Label(m.ID)).Set(float64(m.InUse))
			quota.WithLabelValues(v.Cluster.Label(m.ID)).Set(float64(m.Quota))
		}
	}
	for _, a := range v.Alarms {
		alarms.WithLabelValues(v.Cluster.Label(a.MemberID), string(a.Alarm)).Set(1)
	}
}
