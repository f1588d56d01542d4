package schedules

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/operator/observe"
)

// pruneLimit bounds one removal of backups; what is left goes with the next.
const pruneLimit = 2 * time.Minute

var (
	lastSuccess = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_backup_schedule_last_success_timestamp_seconds", Help: "When the schedule's last backup that was verified was begun, as Unix time; 0 if none was.",
	}, []string{"schedule"})
	failures = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_backup_schedule_consecutive_failures", Help: "Backups of the schedule that failed since the last success.",
	}, []string{"schedule"})
	upToDate = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ceo_backup_schedule_up_to_date", Help: "1 the last backup that was due was made, 0 it was not, -1 unknown.",
	}, []string{"schedule"})
	pruned = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ceo_backup_prunes_total", Help: "How often a retention was applied, by result (ok, failed).",
	}, []string{"result"})
)

//nolint:gochecknoinits // the registry is the process's, as in every Prometheus client
func init() { metrics.Registry.MustRegister(lastSuccess, failures, upToDate, pruned) }

func measure(name string, st v1alpha1.EtcdBackupScheduleStatus) {
	at := 0.0
	if s := st.LastSuccess; s != nil && s.Time != nil {
		at = float64(s.Time.Unix())
	}
	lastSuccess.WithLabelValues(name).Set(at)
	failures.WithLabelValues(name).Set(float64(st.ConsecutiveFailures))
	for _, c := range st.Conditions {
		if c.Type == v1alpha1.ConditionUpToDate {
			upToDate.WithLabelValues(name).Set(map[metav1.ConditionStatus]float64{metav1.ConditionTrue: 1, metav1.ConditionFalse: 0, metav1.ConditionUnknown: -1}[c.Status])
		}
	}
}

func forgetMetrics(name string) {
	lastSuccess.DeleteLabelValues(name)
	failures.DeleteLabelValues(name)
	upToDate.DeleteLabelValues(name)
}

// prune has the retention applied. One that failed is tried again; nothing else waits for it.
func (c *Controller) prune(ctx context.Context, in Input, a Action, st *v1alpha1.EtcdBackupScheduleStatus) {
	s := in.Schedule
	p, err := c.callPrune(ctx, a)
	if ctx.Err() != nil {
		return // this operator ends; the next one goes on
	}
	if err != nil {
		c.tried[s.UID] = c.Now()
		pruned.WithLabelValues("failed").Inc()
		c.Log.Warn("old backups are not removed", "schedule", s.Name, "node", a.Node.Name, "store", a.Store, "error", err)
		set(st, s.Generation, in.Now, v1alpha1.ConditionPruned, metav1.ConditionFalse, v1alpha1.ReasonPruneFailed, a.Node.Name+": "+observe.Reason(err))
		return
	}
	delete(c.tried, s.UID)
	pruned.WithLabelValues("ok").Inc()
	for _, v := range p.Decision.Remove {
		c.Log.Info("backup removed", "schedule", s.Name, "id", v.ID, "store", p.Store, "why", v.Reason)
	}
	st.PruneAfter = ""
	set(st, s.Generation, in.Now, v1alpha1.ConditionPruned, metav1.ConditionTrue, v1alpha1.ReasonPruned, "the retention was applied after the last backup")
	c.Watch.ReadCatalogues()
}

func (c *Controller) callPrune(ctx context.Context, a Action) (keep.Pruned, error) {
	var p keep.Pruned
	if len(a.Retention) == 0 {
		return p, nil // nobody wants anything removed
	}
	retention, err := json.Marshal(a.Retention)
	if err != nil {
		return p, fmt.Errorf("the retention: %w", err)
	}
	agent, err := c.Agents.Agent(a.Node.Address)
	if err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(ctx, pruneLimit)
	defer cancel()
	r, err := agent.PruneBackups(ctx, &agentpb.PruneBackupsRequest{Retention: retention, Store: a.Store})
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(r.GetDecision(), &p); err != nil {
		return p, fmt.Errorf("what the agent says that it removed: %w", err)
	}
	return p, nil
}
