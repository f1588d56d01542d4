package main

import (
	"fmt"
	"slices"
	"strings"
)

// Markdown gives the tables of docs/performance.md.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Machine.line())
	for _, d := range r.Databases {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", d.Name, d.line())
		fmt.Fprintf(&b, "Medians of %d runs (lowest to highest).\n\n", r.Rounds)
		d.measured(&b)
	}
	b.WriteString("\n### Goals\n\n")
	r.reached(&b)
	return b.String()
}

func (m Machine) line() string {
	sha := "no SHA instructions"
	if m.SHA {
		sha = "SHA instructions"
	}
	return fmt.Sprintf("%d cores (%s, %s), %.0f GiB, Linux %s, %s, etcd %s, Go %s, %s.", m.Cores, m.CPU, sha, float64(m.Memory)/(1<<30),
		m.Kernel, m.FileSystem, m.Etcd, m.Go, m.Ceo)
}

func (d Database) line() string {
	return fmt.Sprintf("%.0f MB, %d keys, %d entries, revision %d compacted up to %d, %d leases, %.0f%% of the pages free.", float64(d.Info.Size)/1e6,
		d.Info.Keys, d.Info.Entries, d.Info.Revision, d.Info.Compacted, d.Info.Leases, d.Info.Free*100)
}

// measured is the table of one database.
func (d Database) measured(b *strings.Builder) {
	b.WriteString("| | s | CPU s | own memory MB | with mapped files MB | written ÷ database |\n|---|---|---|---|---|---|\n")
	var whats []string
	for _, s := range d.Series {
		if !slices.Contains(whats, s.What) {
			whats = append(whats, s.What)
		}
	}
	for _, what := range whats {
		fmt.Fprintf(b, "| **%s** | | | | | |\n", what)
		for _, s := range d.Series {
			if s.What == what {
				s.row(b, d.Info.Size)
			}
		}
	}
}

func (s Series) row(b *strings.Builder, size int64) {
	t := s.values(figureSeconds)
	fmt.Fprintf(b, "| %s | %s (%s–%s) | %s | %s | %s | %s |\n", s.How, digits(s.median(figureSeconds)), digits(slices.Min(t)), digits(slices.Max(t)),
		some(s.median(figureCPU), "%.2f"), some(s.median(figureOwn)/1e6, "%.0f"), some(s.median(figurePeak)/1e6, "%.0f"),
		some(s.median(figureWritten)/float64(size), "%.2f"))
}

// reached is the table of all goals that were measured with at least one database.
func (r Report) reached(b *strings.Builder) {
	b.WriteString("| | goal |")
	for _, d := range r.Databases {
		fmt.Fprintf(b, " %s |", d.Name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(r.Databases)) + "\n")
	for _, g := range goals {
		var cells []string
		measured := false
		for _, d := range r.Databases {
			got, reached, ok := g.outcome(d)
			cells = append(cells, cell(g, got, reached, ok))
			measured = measured || ok
		}
		if measured {
			fmt.Fprintf(b, "| %s | %s | %s |\n", g.name, g.limit(), strings.Join(cells, " | "))
		}
	}
}

func cell(g goal, got float64, reached, ok bool) string {
	if !ok {
		return "not measured"
	}
	mark := "✔"
	if !reached {
		mark = "✗"
	}
	if g.times == nil {
		return fmt.Sprintf("%s %.0f", mark, got)
	}
	return fmt.Sprintf("%s %.2f", mark, got)
}

// digits of a time: three that count.
func digits(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.3f", s)
	case s < 10:
		return fmt.Sprintf("%.2f", s)
	}
	return fmt.Sprintf("%.1f", s)
}

// some shows nothing where nothing was measured.
func some(v float64, format string) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}
