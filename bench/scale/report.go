package main

import (
	"fmt"
	"slices"
	"strings"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/bench/storage/measure"
)

// Report of a run.
type Report struct {
	Machine  string       `json:"machine"`
	Database dataset.Info `json:"database"`
	Rounds   int          `json:"rounds"`
	Clients  int          `json:"clients"`
	Rate     int          `json:"rate"`
	Value    int          `json:"value"`
	Samples  []Sample     `json:"samples"`
}

// Goals of ceo.
const (
	stallGoal = 0.5 // seconds, while scaling up
	ratioGoal = 0.3 // of promote-at-once
	totalGoal = 1.2 // of promote-at-once, 1 → 3
)

var titles = map[string]string{wayCeo: "ceo", wayPromote: "learner, promoted at once", wayVoter: "added as a voter"}

// row of the table: one figure of one or more steps; of several the worst.
type row struct {
	name  string
	steps []Step
	of    func(Figures) float64
	unit  string
}

var up = []Step{ToThree, ToFive}

func rows() []row {
	stall := func(f Figures) float64 { return f.Stall }
	pause := func(f Figures) float64 { return f.Pause }
	p99 := func(f Figures) float64 { return f.P99 * 1000 }
	seconds := func(f Figures) float64 { return f.Seconds }
	return []row{
		{"**longest write stall while scaling up**", up, stall, "s"},
		{"longest stall, 1 → 3", []Step{ToThree}, stall, "s"},
		{"longest stall, 3 → 5", []Step{ToFive}, stall, "s"},
		{"longest stall, 5 → 3", []Step{Back}, stall, "s"},
		{"longest stall, one member at rest", []Step{AtRest}, stall, "s"},
		{"longest time without any acknowledgement while scaling up", up, pause, "s"},
		{"p99 of a write, 1 → 3", []Step{ToThree}, p99, "ms"},
		{"p99 of a write, 3 → 5", []Step{ToFive}, p99, "ms"},
		{"p99 of a write, 5 → 3", []Step{Back}, p99, "ms"},
		{"p99 of a write, one member at rest", []Step{AtRest}, p99, "ms"},
		{"time, 1 → 3", []Step{ToThree}, seconds, "s"},
		{"time, 3 → 5", []Step{ToFive}, seconds, "s"},
		{"time, 5 → 3", []Step{Back}, seconds, "s"},
	}
}

// values of one way, one of each run.
func (r Report) values(way string, x row) []float64 {
	var out []float64
	for _, s := range r.Samples {
		if s.Way != way {
			continue
		}
		worst := 0.0
		for _, step := range x.steps {
			worst = max(worst, x.of(s.Steps[step]))
		}
		out = append(out, worst)
	}
	return out
}

func (r Report) ways() []string {
	return slices.DeleteFunc(slices.Clone(allWays), func(w string) bool {
		return !slices.ContainsFunc(r.Samples, func(s Sample) bool { return s.Way == w })
	})
}

// Markdown of the medians, with the lowest and the highest, and of the goals.
func (r Report) Markdown() string {
	var b strings.Builder
	ways := r.ways()
	fmt.Fprintf(&b, "Measured on: %s.\n\n", r.Machine)
	fmt.Fprintf(&b, "Database: %d MB, %d keys, %d revisions' entries. Load: %d clients of all voters, %d writes a second of %d bytes together.\nMedians of %d runs (lowest to highest).\n\n",
		r.Database.Size/1e6, r.Database.Keys, r.Database.Entries, r.Clients, r.Rate, r.Value, r.Rounds)
	head, line := "| |", "|---|"
	for _, w := range ways {
		head, line = head+" "+titles[w]+" |", line+"---|"
	}
	both := slices.Contains(ways, wayCeo) && slices.Contains(ways, wayPromote)
	if both {
		head, line = head+" ceo ÷ promoted at once |", line+"---|"
	}
	fmt.Fprintf(&b, "%s\n%s\n", head, line)
	for _, x := range rows() {
		fmt.Fprintf(&b, "| %s, %s |", x.name, x.unit)
		for _, w := range ways {
			v := r.values(w, x)
			fmt.Fprintf(&b, " %s (%s–%s) |", short(measure.Median(v)), short(slices.Min(v)), short(slices.Max(v)))
		}
		if both {
			fmt.Fprintf(&b, " %.2f |", r.ratio(x))
		}
		b.WriteString("\n")
	}
	if both {
		b.WriteString("\n" + r.goals())
	}
	return b.String()
}

func (r Report) ratio(x row) float64 {
	return measure.Median(r.values(wayCeo, x)) / measure.Median(r.values(wayPromote, x))
}

func (r Report) goals() string {
	all := rows()
	stall, total := all[0], all[slices.IndexFunc(all, func(x row) bool { return x.name == "time, 1 → 3" })]
	mark := func(got, goal float64) string {
		if got <= goal {
			return "✔"
		}
		return "✗"
	}
	longest := measure.Median(r.values(wayCeo, stall))
	return fmt.Sprintf("| goal | |\n|---|---|\n| longest write stall while scaling up ≤ %.1f s | %s %s s |\n| the same ≤ %.1f × promoted at once | %s %.2f |\n| time of 1 → 3 ≤ %.1f × promoted at once | %s %.2f |\n",
		stallGoal, mark(longest, stallGoal), short(longest), ratioGoal, mark(r.ratio(stall), ratioGoal), r.ratio(stall), totalGoal, mark(r.ratio(total), totalGoal), r.ratio(total))
}

func short(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
