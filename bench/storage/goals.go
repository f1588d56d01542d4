package main

import (
	"fmt"
	"math"
	"strings"
)

// goal compares a figure of ceo with a factor times something else, or with a fixed amount.
type goal struct {
	name      string
	what, how string // the series of ceo
	figure    figure
	factor    float64
	// times the greatest of these; none: factor is an amount, in millions of bytes.
	times []basis
}

// basis is another series, in the same figure, or a size of the database.
type basis struct {
	name      string
	what, how string
	size      func(Database) int64
}

func series(what, how string) basis { return basis{name: how, what: what, how: how} }

var (
	databaseSize = basis{name: "the database", size: func(d Database) int64 { return d.Info.Size }}
	storedSize   = basis{name: "what is stored", size: func(d Database) int64 { return d.Stored }}
)

// goals in the order of the table.
var goals = func() []goal {
	all := []goal{
		{"local restore, verified, with bump and mark-compacted", restoring, byCeo, figureSeconds, 0.5, []basis{series(restoring, byEtcdutl)}},
		{"the same", restoring, byCeo, figureSeconds, 1.4, []basis{series(restoring, byCopy)}},
		{"bytes written by it", restoring, byCeo, figureWritten, 1.0, []basis{databaseSize}},
		{"its own memory", restoring, byCeo, figureOwn, 200, nil},
		{"first put after a restore", starting, byCeo, figureSeconds, 1.1, []basis{series(starting, asItWas)}},
		{"snapshot to a verified, compressed, stored backup", saving, byBackup, figureSeconds, 0.8, []basis{series(saving, byEtcdctl)}},
		{"its own memory", saving, byBackup, figureOwn, 150, nil},
		{"no temporary copy: bytes written by it", saving, byBackup, figureWritten, 1.0, []basis{storedSize}},
	}
	for _, place := range []string{inFolder, inS3} {
		from := loading(place)
		all = append(all,
			goal{from + ": work left after the last byte", from, afterLast, figureSeconds, 0.15, []basis{series(restoring, byEtcdutl)}},
			goal{from + ": end to end", from, byCeo, figureSeconds, 1.1, []basis{series(from, byDownload), series(limits, byWrite), series(limits, byHash)}},
			goal{from + ": bytes written by it", from, byCeo, figureWritten, 1.0, []basis{databaseSize}},
			goal{from + ": its own memory", from, byCeo, figureOwn, 200, nil},
		)
	}
	return all
}()

// limit in words.
func (g goal) limit() string {
	switch len(g.times) {
	case 0:
		return fmt.Sprintf("≤ %g MB", g.factor)
	case 1:
		return fmt.Sprintf("≤ %g × %s", g.factor, g.times[0].name)
	}
	var of []string
	for _, b := range g.times {
		of = append(of, strings.TrimSuffix(b.name, " alone"))
	}
	return fmt.Sprintf("≤ %g × max(%s)", g.factor, strings.Join(of, ", "))
}

// outcome is what was measured, as that factor or that amount. ok is false where something was not measured.
func (g goal) outcome(d Database) (got float64, reached, ok bool) {
	s, ok := d.find(g.what, g.how)
	if !ok {
		return 0, false, false
	}
	greatest := 0.0
	if g.times == nil {
		greatest = 1e6
	}
	for _, b := range g.times {
		v, ok := b.value(d, g.figure)
		if !ok {
			return 0, false, false
		}
		greatest = max(greatest, v)
	}
	got = s.median(g.figure) / greatest
	return got, math.Round(got*g.digits())/g.digits() <= g.factor, true
}

// digits that a figure is rounded to before it is compared: those that the goal is given with, and that the table shows.
// Of bytes written one, as some hundred kilobytes of WAL and of records come to any database.
func (g goal) digits() float64 {
	if g.figure == figureWritten {
		return 10
	}
	return 100
}

func (b basis) value(d Database, f figure) (float64, bool) {
	if b.size != nil {
		n := b.size(d)
		return float64(n), n > 0
	}
	s, ok := d.find(b.what, b.how)
	if !ok {
		return 0, false
	}
	v := s.median(f)
	return v, v > 0
}
