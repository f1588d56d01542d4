package main

import (
	"slices"
	"time"
)

// write is one that was acknowledged: when it was asked for, and when its client was told.
type write struct{ Call, Ack time.Duration }

// Step of a run.
type Step string

// The steps.
const (
	AtRest  Step = "one member, at rest"
	ToThree Step = "1 → 3"
	ToFive  Step = "3 → 5"
	Back    Step = "5 → 3"
)

// Figures of one step.
type Figures struct {
	Seconds float64 `json:"seconds"`
	// Stall is the longest that one write waited for its acknowledgement, Pause the longest time without any.
	Stall  float64 `json:"stall"`
	Pause  float64 `json:"pause"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Writes int     `json:"writes"`
}

// span of a step.
type span struct{ From, To time.Duration }

// judge takes the figures of the writes that were under way in a span, whole: also of one that began before it, or was
// acknowledged after it.
func judge(ws []write, in span) Figures {
	f := Figures{Seconds: (in.To - in.From).Seconds()}
	var waits, acks []float64
	for _, w := range ws {
		acks = append(acks, w.Ack.Seconds())
		if w.Ack < in.From || w.Call > in.To {
			continue
		}
		waits = append(waits, (w.Ack - w.Call).Seconds())
	}
	slices.Sort(acks)
	for i := 1; i < len(acks); i++ {
		if acks[i] >= in.From.Seconds() && acks[i-1] <= in.To.Seconds() {
			f.Pause = max(f.Pause, acks[i]-acks[i-1])
		}
	}
	if f.Writes = len(waits); f.Writes == 0 {
		return f
	}
	slices.Sort(waits)
	f.Stall, f.P50, f.P99 = waits[len(waits)-1], quantile(waits, 0.5), quantile(waits, 0.99)
	return f
}

// stalls are the writes that took so long, of those that overlap the longest alone, in the order of time.
func stalls(ws []write, least time.Duration) []write {
	ws = slices.DeleteFunc(slices.Clone(ws), func(w write) bool { return w.Ack-w.Call < least })
	slices.SortFunc(ws, func(a, b write) int { return int(a.Call - b.Call) })
	var out []write
	for _, w := range ws {
		last := len(out) - 1
		switch {
		case last < 0 || w.Call > out[last].Ack:
			out = append(out, w)
		case w.Ack-w.Call > out[last].Ack-out[last].Call:
			out[last] = w
		}
	}
	return out
}

// quantile of sorted values.
func quantile(xs []float64, q float64) float64 { return xs[int(q*float64(len(xs)-1)+0.5)] }
