package status

import (
	"testing"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/report"
)

func TestRolledOut(t *testing.T) {
	at, later := time.Unix(1000, 0), time.Unix(2000, 0)
	reports := func(hash string, s v1alpha1.RolloutState) []report.Report {
		return []report.Report{{}, {Rollout: &v1alpha1.RolloutStatus{Hash: hash, State: s}}}
	}
	if got := rolledOut(nil, at, nil); got != nil {
		t.Errorf("%+v", got)
	}
	one := rolledOut(nil, at, reports("a", v1alpha1.RolloutRunning))
	if one.Revision != 1 || !one.StartTime.Time.Equal(at) || one.CompletionTime != nil {
		t.Errorf("%+v", one)
	}
	over := rolledOut(one, later, reports("a", v1alpha1.RolloutComplete))
	if over.Revision != 1 || !over.StartTime.Time.Equal(at) || !over.CompletionTime.Time.Equal(later) {
		t.Errorf("%+v", over)
	}
	// At rest nothing is written: the times stay.
	again := rolledOut(over, later.Add(time.Hour), reports("a", v1alpha1.RolloutComplete))
	if *again.CompletionTime != *over.CompletionTime || again.Revision != 1 {
		t.Errorf("%+v", again)
	}
	if next := rolledOut(over, later, reports("b", v1alpha1.RolloutRunning)); next.Revision != 2 || next.CompletionTime != nil || !next.StartTime.Time.Equal(later) {
		t.Errorf("%+v", next)
	}
	if kept := rolledOut(over, later, nil); kept.Hash != "a" {
		t.Errorf("%+v", kept)
	}
}

func TestObserved(t *testing.T) {
	for name, c := range map[string]struct{ generation, before, reported, want int64 }{
		"all have seen it":              {3, 2, 3, 3},
		"one has seen the one before":   {3, 2, 2, 2},
		"one has said nothing yet":      {3, 2, 0, 2},
		"it does not go back":           {3, 3, 0, 3},
		"a report newer than the cache": {3, 2, 4, 3},
	} {
		if got := observed(c.generation, c.before, []report.Report{{Generation: c.reported}}); got != c.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestWork(t *testing.T) {
	waits, does := &report.Note{Reason: "w", Waits: true}, &report.Note{Reason: "d"}
	s := seen{reports: []report.Report{{Progressing: waits}, {Progressing: does, Degraded: []report.Note{{Reason: "x"}}}}}
	if got := s.work(); got != does {
		t.Errorf("%+v", got)
	}
	s.reports = s.reports[:1]
	if got := s.work(); got != waits || doing(got) != "False" {
		t.Errorf("%+v", got)
	}
}
