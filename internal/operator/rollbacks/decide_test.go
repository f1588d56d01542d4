package rollbacks

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
)

const lives, digest = "abc1", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// asked is a roll-back without a consent, of which nothing is shown yet.
func asked() Facts {
	return Facts{
		Recovery: v1alpha1.EtcdRecovery{
			ObjectMeta: metav1.ObjectMeta{Name: "noon", Generation: 1},
			Spec:       v1alpha1.EtcdRecoverySpec{Type: v1alpha1.RecoveryRollback, Rollback: &v1alpha1.RollbackSpec{Backup: "b"}},
		},
		ClusterID: lives, Node: "cp-1",
	}
}

// planned: the plan of now is known.
func planned() Facts {
	f := asked()
	f.Backup = &v1alpha1.BackupReference{ID: "b", Digest: digest}
	f.Plan = &agentpb.Plan{Id: "p1", ClusterName: "prod", Risks: []*agentpb.Risk{{Name: "rollback", Text: "all since is lost"}}}
	return f
}

// agreed: the plan was shown, and a consent to it was added.
func agreed() Facts {
	f := planned()
	f.Recovery.Status = Decide(f).Status
	f.Recovery.Generation = 2
	f.Recovery.Spec.Rollback.Consent = &v1alpha1.Consent{ClusterID: lives, BackupDigest: digest, AcceptRisks: []v1alpha1.Risk{"rollback"}}
	return f
}

// begun: the consent is used.
func begun() Facts {
	f := agreed()
	f.Recovery.Status = Decide(f).Status
	t := metav1.Now()
	f.Recovery.Status.StartTime = &t
	f.Plan, f.Backup, f.Since = nil, nil, time.Hour
	return f
}

func with(f Facts, change func(*Facts)) Facts {
	change(&f)
	return f
}

func consent(f *Facts) *v1alpha1.Consent { return f.Recovery.Spec.Rollback.Consent }

func TestDecide(t *testing.T) {
	open := &agentpb.Recovery{Id: "r1", Step: "stage"}
	for name, c := range map[string]struct {
		f      Facts
		kind   Kind
		reason string // of Complete
		say    string
	}{
		"a record":                                           {with(asked(), func(f *Facts) { f.Recovery.Spec = v1alpha1.EtcdRecoverySpec{Type: v1alpha1.RecoveryRecord} }), Nothing, "", ""},
		"new: the plan is made":                              {asked(), Ask, "", ""},
		"the plan cannot be made":                            {with(asked(), func(f *Facts) { f.Unknown = "no agent" }), Show, v1alpha1.ReasonWaiting, "no agent"},
		"planned: it waits for a consent":                    {planned(), Show, v1alpha1.ReasonWaitingForConsent, digest},
		"the plan is refused":                                {with(planned(), func(f *Facts) { f.Plan.Refused = "too full" }), Show, v1alpha1.ReasonRefused, "too full"},
		"P17: a recovery is open":                            {with(planned(), func(f *Facts) { f.Pause.Recovery = "r0" }), Show, v1alpha1.ReasonRefused, "r0 is open"},
		"Unmanaged":                                          {with(planned(), func(f *Facts) { f.Pause.Unmanaged = true }), Show, v1alpha1.ReasonRefused, "Unmanaged"},
		"I14: agreed, and as it was shown":                   {agreed(), Start, v1alpha1.ReasonRunning, "p1"},
		"I14: agreed, the plan is asked for anew first":      {with(agreed(), func(f *Facts) { f.Plan = nil }), Ask, "", ""},
		"I14: agreed to another cluster":                     {with(agreed(), func(f *Facts) { consent(f).ClusterID = "def2" }), Show, v1alpha1.ReasonConsentMismatch, "the one that lives is " + lives},
		"I14: agreed, and the cluster was rolled back since": {with(agreed(), func(f *Facts) { f.ClusterID = "def2" }), Show, v1alpha1.ReasonConsentMismatch, "the one that lives is def2"},
		"I14: agreed to another backup":                      {with(agreed(), func(f *Facts) { consent(f).BackupDigest = strings.Repeat("0", 64) }), Show, v1alpha1.ReasonConsentMismatch, "digest"},
		"I14: the backup is another by now":                  {with(agreed(), func(f *Facts) { f.Backup.Digest = strings.Repeat("0", 64) }), Show, v1alpha1.ReasonConsentMismatch, "by now"},
		"I14: a risk is not accepted": {with(agreed(), func(f *Facts) {
			f.Recovery.Status.Plan.Risks = append(f.Recovery.Status.Plan.Risks, v1alpha1.RiskStatus{Name: "take-over"})
		}), Show, v1alpha1.ReasonConsentMismatch, "take-over"},
		"I14: agreed before a plan was shown":  {with(agreed(), func(f *Facts) { f.Recovery.Status.Plan = nil }), Show, v1alpha1.ReasonConsentMismatch, "before a plan"},
		"I14: what was observed has changed":   {with(agreed(), func(f *Facts) { f.Plan.Id = "p2" }), Show, v1alpha1.ReasonRefused, "has changed"},
		"agreed, and refused by now":           {with(agreed(), func(f *Facts) { f.Plan.Refused = "too full" }), Show, v1alpha1.ReasonRefused, "too full"},
		"P17: agreed, and another is open":     {with(agreed(), func(f *Facts) { f.Pause.Recovery = "r0" }), Show, v1alpha1.ReasonRefused, "create another"},
		"I23: agreed, and most agents silent":  {with(agreed(), func(f *Facts) { f.Pause.Unread = "two of three" }), Show, v1alpha1.ReasonWaiting, "two of three"},
		"agreed, and no quorum says who lives": {with(agreed(), func(f *Facts) { f.ClusterID = "" }), Show, v1alpha1.ReasonWaiting, "not known"},
		"I14: a refusal of a consent stays": {with(agreed(), func(f *Facts) {
			f.Plan.Id = "p2"
			f.Recovery.Status = Decide(*f).Status
			f.Plan.Id = "p1"
		}), Nothing, "", ""},
		"begun, and it runs":                              {with(begun(), func(f *Facts) { f.Open, f.OpenOn = open, "cp-1" }), Show, v1alpha1.ReasonRunning, "r1 runs"},
		"begun, and it waits":                             {with(begun(), func(f *Facts) { f.Open, f.OpenOn = &agentpb.Recovery{Id: "r1", WaitingFor: []string{"cp-3"}}, "cp-1" }), Show, v1alpha1.ReasonWaitingForNodes, "cp-3"},
		"begun, and it stopped":                           {with(begun(), func(f *Facts) { f.Open, f.OpenOn = &agentpb.Recovery{Id: "r1", Error: "no space"}, "cp-1" }), Show, v1alpha1.ReasonRunning, "no space"},
		"begun a moment ago, not seen":                    {with(begun(), func(f *Facts) { f.Since = time.Second }), Show, v1alpha1.ReasonRunning, "looked up"},
		"I14: begun, and nobody knows of it: never again": {begun(), Show, v1alpha1.ReasonConsentUsed, "create another"},
		"begun, and its record is there": {with(begun(), func(f *Facts) {
			f.Recovery.Status.RecoveryID = "r1"
			f.Record = &v1alpha1.EtcdRecovery{Status: v1alpha1.EtcdRecoveryStatus{Conditions: []metav1.Condition{{Type: "Complete", Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRecovered, Message: "done"}}}}
		}), Show, v1alpha1.ReasonRecovered, "done"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Decide(c.f)
			if a.Kind != c.kind {
				t.Fatalf("%s (%s), want %s", a.Kind, a.Reason, c.kind)
			}
			if c.reason == "" {
				return
			}
			got := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionComplete)
			if got == nil || got.Reason != c.reason || !strings.Contains(got.Message, c.say) {
				t.Fatalf("Complete: %+v, want %s with %q", got, c.reason, c.say)
			}
		})
	}
}

// I14: whatever happens in whatever order, a roll-back begins at most once with one object, and only while the consent, the
// plan that was shown and the plan of now are the same, with all risks accepted.
func TestConsentIsForOneRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, starts := asked(), 0
		some := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
		for range rapid.IntRange(1, 30).Draw(t, "looks") {
			f.ClusterID = some("lives", lives, lives, lives, "def2", "")
			f.Pause.Recovery = some("open", "", "", "", "r0")
			f.Pause.Unread = some("unread", "", "", "two")
			f.Unknown = some("unknown", "", "", "", "silent")
			f.Since = time.Duration(rapid.IntRange(0, 5).Draw(t, "since")) * time.Minute
			f.Plan, f.Backup, f.Open = nil, nil, nil
			if rapid.Bool().Draw(t, "asked") {
				f.Backup = &v1alpha1.BackupReference{ID: "b", Digest: some("digest", digest, digest, strings.Repeat("0", 64))}
				f.Plan = &agentpb.Plan{Id: some("plan", "p1", "p1", "p2"), Refused: some("refused", "", "", "no")}
				for _, k := range []string{"rollback", "take-over"} {
					if k == "rollback" || f.Plan.GetId() == "p2" {
						f.Plan.Risks = append(f.Plan.Risks, &agentpb.Risk{Name: k})
					}
				}
			}
			if f.Recovery.Spec.Rollback.Consent == nil && rapid.IntRange(0, 3).Draw(t, "agree") == 0 {
				f.Recovery.Generation++
				f.Recovery.Spec.Rollback.Consent = &v1alpha1.Consent{ClusterID: some("to", lives, "def2"), BackupDigest: digest, AcceptRisks: []v1alpha1.Risk{"rollback"}}
			}
			if rapid.IntRange(0, 5).Draw(t, "open here") == 0 {
				f.Open, f.OpenOn = &agentpb.Recovery{Id: "r1"}, "cp-1"
			}
			a := Decide(f)
			if a.Kind == Start {
				c, shown := f.Recovery.Spec.Rollback.Consent, f.Recovery.Status.Plan
				if starts++; starts > 1 {
					t.Fatal("it begins a second time")
				}
				if c == nil || shown == nil || c.ClusterID != f.ClusterID || c.ClusterID != shown.ClusterID || c.BackupDigest != f.Backup.Digest ||
					shown.ID != f.Plan.GetId() || len(f.Plan.GetRisks()) > 1 || f.Pause.Recovery != "" || f.Pause.Unread != "" || f.Plan.GetRefused() != "" {
					t.Fatalf("it begins on %+v, consent %+v, shown %+v", f, c, shown)
				}
				now := metav1.Now()
				a.Status.StartTime = &now
			}
			if a.Kind == Start || a.Kind == Show {
				f.Recovery.Status = a.Status
			}
		}
	})
}

func TestCut(t *testing.T) {
	if got := cut(strings.Repeat("ü", 600), maxText); len(got) > maxText || !strings.HasSuffix(got, "ü...") {
		t.Errorf("%d bytes, ends with %q", len(got), got[len(got)-6:])
	}
}
