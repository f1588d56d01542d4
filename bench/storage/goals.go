package main

import (
	"math"

	"clusteretcd.io/ceo/bench/storage/measure"
)

// goal compares a figure of ceo with that of something else.
type goal struct {
	name   string
	what   string // of ceo and, if not said otherwise, of the other
	how    string
	of     func(measure.Sample) float64
	by     []basis // the greatest of them
	factor float64 // reached: at most this times the basis
	unit   string  // of a basis that is a fixed amount: it is told in it
}

// basis that a goal is a factor of: another way's median, or the size of the database, or a fixed amount.
type basis struct {
	what, how string
	database  bool
	amount    float64
}

var goals = []goal{
	{name: "local restore, verified, with bump and mark-compacted", what: restoring, how: byCeo, of: seconds, by: []basis{{what: restoring, how: byEtcdutl}}, factor: 0.5},
	{name: "the same", what: restoring, how: byCeo, of: seconds, by: []basis{{what: restoring, how: byCopy}}, factor: 1.4},
	{name: "bytes written by a local restore", what: restoring, how: byCeo, of: written, by: []basis{{database: true}}, factor: 1.0},
	{name: "first put after a restore", what: starting, how: byCeo, of: seconds, by: []basis{{what: starting, how: asItWas}}, factor: 1.1},
}

// outcome of a goal with one database. Of a fixed amount, Ratio is the figure itself.
type outcome struct {
	goal
	against string
	ratio   float64
	reached bool
}

// outcomes of what was measured.
func outcomes(d Database) []outcome {
	var out []outcome
	for _, g := range goals {
		s, ok := d.find(g.what, g.how)
		if !ok {
			continue
		}
		against, limit, ok := g.basis(d)
		if !ok {
			continue
		}
		ratio := s.median(g.of) / limit
		// As it is shown: what reads as the goal is the goal.
		out = append(out, outcome{goal: g, against: against, ratio: ratio, reached: math.Round(ratio*100)/100 <= g.factor})
	}
	return out
}

func (g goal) basis(d Database) (name string, value float64, ok bool) {
	for _, b := range g.by {
		n, v := "the database", float64(d.Info.Size)
		switch {
		case b.amount > 0:
			n, v = g.unit, b.amount
		case !b.database:
			s, found := d.find(b.what, b.how)
			if !found {
				return "", 0, false
			}
			n, v = b.how, s.median(g.of)
		}
		if v > value {
			name, value = n, v
		}
	}
	return name, value, value > 0
}
