package etcd_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var controllers = []string{"members", "rollout", "maintenance"}

// faults are what the world does to a cluster. None of them damages so much
// for good that only a recovery could mend it (spare); for a while, they may
// take everything down.
var faults = map[string]func(*rapid.T, *world, *machine){
	"crash":    func(_ *rapid.T, _ *world, m *machine) { m.up, m.defrag = false, false },
	"power on": func(_ *rapid.T, _ *world, m *machine) { m.up = true },
	"freeze":   func(_ *rapid.T, _ *world, m *machine) { m.frozen = true },
	"thaw":     func(_ *rapid.T, _ *world, m *machine) { m.frozen = false },
	"cut off":  func(_ *rapid.T, _ *world, m *machine) { m.cut = true },
	"mend":     func(_ *rapid.T, _ *world, m *machine) { m.cut = false },
	"silence":  func(_ *rapid.T, _ *world, m *machine) { m.silent = !m.silent },
	"fragment": func(_ *rapid.T, _ *world, m *machine) { m.waste = m.data != 0 },
	"wipe": func(_ *rapid.T, w *world, m *machine) {
		if w.spare(m) {
			m.data, m.corrupt, m.waste, m.defrag = 0, false, false, false
		}
	},
	"corrupt": func(_ *rapid.T, w *world, m *machine) {
		if m.data != 0 && w.spare(m) {
			m.corrupt = true
		}
	},
	"other address": func(_ *rapid.T, w *world, m *machine) {
		if m.exists && w.spare(m) {
			m.url = w.address()
		}
	},
	"swap addresses": func(t *rapid.T, w *world, m *machine) {
		if o := draw(t, w); o.exists && m.exists && w.spare(m, o) {
			o.url, m.url = m.url, o.url
		}
	},
	"destroy": func(_ *rapid.T, w *world, m *machine) {
		if w.spare(m) {
			m.exists = false
		}
	},
	"replace": func(_ *rapid.T, w *world, m *machine) {
		if m.wanted && w.spare(m) {
			m.exists, m.wanted = false, false
			w.join(m.name, false)
		}
	},
	"delete its Node": func(_ *rapid.T, w *world, m *machine) {
		if w.wanted() > 1 {
			m.wanted = false
		}
	},
	"register its Node": func(_ *rapid.T, w *world, m *machine) {
		if m.exists && w.wanted() < 7 && w.machineOf(m.name).name == "" && m.name != "bootstrap" {
			m.wanted = true
		}
	},
}

func (w *world) wanted() (n int) {
	for _, m := range w.machines {
		if m.wanted {
			n++
		}
	}
	return n
}

func draw(t *rapid.T, w *world) *machine {
	return w.machines[rapid.IntRange(0, len(w.machines)-1).Draw(t, "machine")]
}

// The safety kernel against a model of a cluster of one to seven members:
// whatever fails, and whatever two operators and a person do at the same time,
// the quorum is never lost by our own hand (I6), there is one change in flight
// (I7), only what has applied is promoted (I8), nothing of unknown state is
// removed before its time (I23); and once faults stop, the cluster comes to
// what is wanted.
func TestModel(t *testing.T) {
	// rapid makes 100 sequences at a time, of up to 250 steps each.
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) { rapid.Check(t, model) })
	}
}

func model(t *rapid.T) {
	w := newWorld(rapid.IntRange(1, 7).Draw(t, "nodes"), rapid.Bool().Draw(t, "bootstrap"))
	operators := []*operator{newOperator("A"), newOperator("B")}
	w.operators = operators
	names := slices.Sorted(maps.Keys(faults))
	for range rapid.IntRange(0, 250).Draw(t, "steps") {
		w.elect()
		o := operators[rapid.IntRange(0, 1).Draw(t, "operator")]
		switch rapid.SampledFrom([]string{"operator", "operator", "operator", "operator", "tick", "tick", "node", "node", "fault", "person", "process"}).Draw(t, "step") {
		case "operator":
			o.step(t, w, rapid.SampledFrom(controllers).Draw(t, "controller"))
		case "tick":
			w.now += rapid.IntRange(1, 3).Draw(t, "ticks")
			w.commit += rapid.IntRange(0, 3).Draw(t, "writes")
		case "node":
			w.node(draw(t, w), rapid.IntRange(0, 5).Draw(t, "catch up"))
		case "fault":
			m, name := draw(t, w), rapid.SampledFrom(names).Draw(t, "fault")
			faults[name](t, w, m)
		case "person":
			person(t, w)
		case "process":
			process(t, w, o)
		}
	}
	converge(t, w, operators)
}

// person is what a person does.
func person(t *rapid.T, w *world) {
	switch rapid.SampledFrom([]string{"join", "spec", "broken spec", "unread spec", "unmanaged", "recovery"}).Draw(t, "person") {
	case "join":
		if w.wanted() < 7 && len(w.machines) < 16 {
			w.join(fmt.Sprintf("cp-%d", len(w.machines)+1), false)
		}
	case "spec":
		w.target = fmt.Sprintf("r%d-%d", w.now, w.version)
	case "broken spec":
		w.target = fmt.Sprintf("broken%d-%d", w.now, w.version)
	case "unread spec":
		w.target = fmt.Sprintf("unread%d-%d", w.now, w.version)
	case "unmanaged":
		w.unmanaged = !w.unmanaged
	case "recovery":
		if w.recovery = "r-1"; rapid.Bool().Draw(t, "over") {
			w.recovery = ""
		}
	}
}

// process is what befalls an operator itself.
func process(t *rapid.T, w *world, o *operator) {
	switch rapid.SampledFrom([]string{"stand still", "go on", "go on", "lose the lease", "lose the lease", "be killed", "clock"}).Draw(t, "process") {
	case "stand still":
		o.paused = true
	case "go on":
		o.paused = false
	case "lose the lease": // it stood still for long, and may have gone on since
		if w.lock == o {
			w.lock = nil
		}
	case "be killed":
		if w.lock == o {
			w.lock = nil
		}
		*o = *newOperator(o.name)
		o.lastLook = w.now
	case "clock":
		o.jump = time.Duration(rapid.IntRange(-1000, 1000).Draw(t, "hours")) * time.Hour
		o.jumps++
	}
}

// converge: faults stop, persons have done what is theirs, and nothing but the
// operators is left to bring the cluster to what is wanted.
func converge(t *rapid.T, w *world, operators []*operator) {
	for _, m := range w.machines {
		m.up, m.frozen, m.cut, m.silent = true, false, false, false
		if !m.exists {
			m.wanted = false
		}
	}
	if w.wanted() == 0 {
		w.join("last", false)
	}
	w.unmanaged, w.recovery, w.target = false, "", "final"
	for _, o := range operators {
		if o.paused = false; w.lock == o && o.stage == "" {
			w.lock = nil
		}
	}
	const rounds = 600
	for i := range rounds {
		w.now++
		w.commit++
		for _, m := range w.machines {
			w.node(m, 100)
		}
		for _, o := range operators {
			for range 4 {
				w.elect()
				o.step(t, w, controllers[i%len(controllers)])
			}
		}
		if w.settled() {
			return
		}
	}
	why := ""
	for _, kind := range controllers {
		do, _ := operators[0].decide(w, kind)
		why += fmt.Sprintf("  %s: %+v\n", kind, do)
	}
	t.Fatalf("not settled %d rounds after the last fault:\n%s%s", rounds, why, w)
}

func (w *world) settled() bool {
	if len(w.members) != w.wanted() {
		return false
	}
	for _, m := range w.machines {
		if !m.wanted {
			continue
		}
		x := w.member(m.data)
		if x == nil || x.learner || x.url != m.url || !w.serves(*x) || m.corrupt || m.waste || m.running != w.target || m.placed != w.target {
			return false
		}
	}
	return true
}
