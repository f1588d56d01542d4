package observe

import "slices"

// Report is what one controller has to say in the conditions of the EtcdCluster, which are the status controller's. Its
// texts stay the same for as long as their causes do: a status that changes is a write.
type Report struct {
	Problems []Problem
	// Progress is what is being changed, with its reason; empty for nothing.
	Progress Problem
}

// Problem is a reason and a text of a condition.
type Problem struct{ Reason, Text string }

// Report replaces what a controller has said before.
func (w *Watch) Report(from string, r Report) {
	w.mu.Lock()
	old, ok := w.reports[from]
	if w.reports == nil {
		w.reports = map[string]Report{}
	}
	w.reports[from] = r
	w.latest.Reports = w.reported()
	w.mu.Unlock()
	if !ok || old.Progress != r.Progress || !slices.Equal(old.Problems, r.Problems) {
		w.tell()
	}
}

// reported are the reports by the names of who made them; w.mu is held.
func (w *Watch) reported() []Report {
	names := make([]string, 0, len(w.reports))
	for n := range w.reports {
		names = append(names, n)
	}
	slices.Sort(names)
	out := make([]Report, 0, len(names))
	for _, n := range names {
		out = append(out, w.reports[n])
	}
	return out
}
