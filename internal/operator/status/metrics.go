package status

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/api/v1alpha1"
)

var conditionIs = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "ceo_cluster_condition", Help: "1 for what each condition of the EtcdCluster is.",
}, []string{"condition", "status", "reason"})

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() { metrics.Registry.MustRegister(conditionIs) }

func measure(s v1alpha1.EtcdClusterStatus) {
	conditionIs.Reset()
	for _, c := range s.Conditions {
		conditionIs.WithLabelValues(c.Type, string(c.Status), c.Reason).Set(1)
	}
}
