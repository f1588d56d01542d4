package main

import (
	"slices"

	"clusteretcd.io/ceo/bench/storage/dataset"
	"clusteretcd.io/ceo/bench/storage/measure"
)

// Report of a run.
type Report struct {
	Machine   Machine    `json:"machine"`
	Rounds    int        `json:"rounds"`
	Databases []Database `json:"databases"`
}

// Database is what was measured with one database.
type Database struct {
	Name   string       `json:"name"`
	Info   dataset.Info `json:"info"`
	Stored int64        `json:"stored,omitempty"` // bytes of a backup of it in the store
	Series []Series     `json:"series"`
}

// Series is one thing done in one way, several times.
type Series struct {
	What    string           `json:"what"`
	How     string           `json:"how"`
	Samples []measure.Sample `json:"samples"`
}

func (d *Database) add(what, how string, s measure.Sample) {
	for i := range d.Series {
		if d.Series[i].What == what && d.Series[i].How == how {
			d.Series[i].Samples = append(d.Series[i].Samples, s)
			return
		}
	}
	d.Series = append(d.Series, Series{What: what, How: how, Samples: []measure.Sample{s}})
}

// find gives false where it was not measured.
func (d *Database) find(what, how string) (Series, bool) {
	i := slices.IndexFunc(d.Series, func(s Series) bool { return s.What == what && s.How == how })
	if i < 0 {
		return Series{}, false
	}
	return d.Series[i], true
}

// figure of a sample.
type figure int

const (
	figureSeconds figure = iota
	figureCPU
	figurePeak
	figureOwn
	figureWritten
)

func (f figure) of(s measure.Sample) float64 {
	return [...]float64{s.Seconds, s.CPU, float64(s.Peak), float64(s.Own), float64(s.Written)}[f]
}

func (s Series) values(f figure) []float64 {
	out := make([]float64, 0, len(s.Samples))
	for _, x := range s.Samples {
		out = append(out, f.of(x))
	}
	return out
}

func (s Series) median(f figure) float64 { return measure.Median(s.values(f)) }
