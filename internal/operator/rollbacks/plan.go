package rollbacks

import (
	"strings"

	"clusteretcd.io/ceo/api/v1alpha1"
)

// What the API takes.
const (
	maxMessage   = 4096
	maxText      = 1024
	maxDiagnosis = 4096
	maxLose      = 64
	maxRisks     = 16
	maxSteps     = 256
)

// planStatus is the plan in the API's words.
func planStatus(f Facts) v1alpha1.PlanStatus {
	p := v1alpha1.PlanStatus{
		ID: f.Plan.GetId(), ClusterID: f.ClusterID, Backup: f.Backup, Diagnosis: cut(f.Plan.GetDiagnosis(), maxDiagnosis),
	}
	for _, l := range first(f.Plan.GetMayLose(), maxLose) {
		p.MayLose = append(p.MayLose, cut(l, maxText))
	}
	for _, k := range first(f.Plan.GetRisks(), maxRisks) {
		p.Risks = append(p.Risks, v1alpha1.RiskStatus{Name: k.GetName(), Text: cut(k.GetText(), maxText)})
	}
	for _, s := range first(f.Plan.GetSteps(), maxSteps) {
		p.Steps = append(p.Steps, cut(s.GetNode()+": "+s.GetText(), maxText))
	}
	return p
}

func first[T any](s []T, n int) []T { return s[:min(len(s), n)] }

// cut shortens to n bytes, at a whole rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}
