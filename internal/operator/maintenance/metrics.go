package maintenance

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	actions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ceo_maintenance_actions_total", Help: "Steps of maintenance by kind (compact, defragment, disarm, fence, move-leader, release, remove) and result (done, failed).",
	}, []string{"kind", "result"})
	reclaimed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ceo_maintenance_reclaimed_bytes_total", Help: "Bytes that defragmentations gave back.",
	})
	hashChecked = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_hash_check_timestamp_seconds", Help: "When the members' data was last compared, as Unix time; 0 before the first time.",
	})
	hashDiffers = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ceo_hash_check_mismatch", Help: "1 if the members' data differed when it was last compared.",
	})
)

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() {
	metrics.Registry.MustRegister(actions, reclaimed, hashChecked, hashDiffers)
}
