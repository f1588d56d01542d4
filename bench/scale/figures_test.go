package main

import (
	"strings"
	"testing"
	"time"
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func TestJudge(t *testing.T) {
	for _, row := range []struct {
		name         string
		writes       []write
		in           span
		stall, pause float64
		count        int
	}{
		{"none", nil, span{0, ms(100)}, 0, 0, 0},
		{"two at once, one of which waits", []write{{ms(0), ms(10)}, {ms(10), ms(510)}, {ms(10), ms(20)}, {ms(30), ms(40)}}, span{0, ms(600)}, 0.5, 0.47, 4},
		{"one that began before counts whole", []write{{ms(0), ms(400)}}, span{ms(300), ms(600)}, 0.4, 0, 1},
		{"one that is told later counts whole", []write{{ms(500), ms(1500)}, {ms(100), ms(110)}}, span{0, ms(600)}, 1, 1.39, 2},
		{"what was over before does not count", []write{{ms(0), ms(400)}, {ms(500), ms(510)}, {ms(520), ms(530)}}, span{ms(505), ms(600)}, 0.01, 0.11, 2},
		{"a pause that reaches into it counts whole", []write{{ms(0), ms(10)}, {ms(900), ms(910)}}, span{ms(500), ms(950)}, 0.01, 0.9, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := judge(row.writes, row.in)
			if !near(f.Stall, row.stall) || !near(f.Pause, row.pause) || f.Writes != row.count {
				t.Errorf("%+v, want a stall of %v, a pause of %v, %d writes", f, row.stall, row.pause, row.count)
			}
		})
	}
}

func near(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }

func TestStalls(t *testing.T) {
	got := stalls([]write{{ms(0), ms(10)}, {ms(100), ms(500)}, {ms(150), ms(900)}, {ms(2000), ms(2400)}, {ms(2100), ms(2405)}}, ms(300))
	if len(got) != 2 || got[0] != (write{ms(150), ms(900)}) || got[1] != (write{ms(2000), ms(2400)}) {
		t.Errorf("%v", got)
	}
}

func TestReport(t *testing.T) {
	sample := func(way string, stall, seconds float64) Sample {
		return Sample{Way: way, Steps: map[Step]Figures{
			AtRest: {Stall: 0.01}, ToThree: {Stall: stall, Seconds: seconds}, ToFive: {Stall: stall / 2, Seconds: seconds}, Back: {Stall: 0.02, Seconds: 1},
		}}
	}
	r := Report{Machine: "a machine", Rounds: 3, Samples: []Sample{
		sample(wayCeo, 0.2, 12), sample(wayPromote, 2, 8), sample(wayCeo, 0.4, 14), sample(wayPromote, 1, 10), sample(wayCeo, 0.3, 10), sample(wayPromote, 4, 9),
	}}
	got := r.Markdown()
	for _, want := range []string{
		"| | ceo | learner, promoted at once | ceo ÷ promoted at once |",
		"| **longest write stall while scaling up**, s | 0.30 (0.20–0.40) | 2.00 (1.00–4.00) | 0.15 |",
		"| longest stall, 3 → 5, s | 0.15 (0.10–0.20) |",
		"≤ 0.5 s | ✔ 0.30 s |", "≤ 0.3 × promoted at once | ✔ 0.15 |", "≤ 1.2 × promoted at once | ✗ 1.33 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
