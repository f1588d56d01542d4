package harness

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

const enough = time.Minute

func put(v string, call, ret int64) Op {
	return Op{Kind: Put, Key: "k", Value: v, Outcome: Done, Call: call, Return: ret}
}

func get(v string, call, ret int64) Op {
	return Op{Kind: Get, Key: "k", Found: v, Outcome: Done, Call: call, Return: ret}
}

func cas(expect, v string, call, ret int64) Op {
	return Op{Kind: CAS, Key: "k", Expect: expect, Value: v, Outcome: Done, Call: call, Return: ret}
}

func refused(expect, v, found string, call, ret int64) Op {
	return Op{Kind: CAS, Key: "k", Expect: expect, Value: v, Found: found, Outcome: Refused, Call: call, Return: ret}
}

func lost(o Op) Op {
	o.Outcome = Unknown
	return o
}

// I9: the check can fail. Each row has the fault that it is there to find, or the same without it.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []Op
		want porcupine.CheckResult
	}{
		{"nothing", nil, porcupine.Ok},
		{"one after the other", []Op{put("a", 0, 1), get("a", 2, 3), cas("a", "b", 4, 5), refused("a", "c", "b", 6, 7), get("b", 8, 9)}, porcupine.Ok},
		{"at the same time, either order", []Op{put("a", 0, 10), put("b", 0, 10), get("a", 11, 12)}, porcupine.Ok},
		{"a stale read", []Op{put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)}, porcupine.Illegal},
		{"a read goes back", []Op{put("a", 0, 1), put("b", 2, 9), get("b", 3, 4), get("a", 5, 6)}, porcupine.Illegal},
		{"an acknowledged write is lost", []Op{put("a", 0, 1), cas("a", "b", 2, 3), get("a", 4, 5)}, porcupine.Illegal},
		{"the only write is lost", []Op{put("a", 0, 1), get("", 2, 3)}, porcupine.Illegal},
		{"two CAS of one value", []Op{put("a", 0, 1), cas("a", "b", 2, 9), cas("a", "c", 2, 9)}, porcupine.Illegal},
		{"a CAS refused for what the key held", []Op{put("a", 0, 1), refused("a", "b", "a", 2, 3)}, porcupine.Illegal},
		{"a value that nobody wrote", []Op{put("a", 0, 1), get("x", 2, 3)}, porcupine.Illegal},
		{"unknown: it did not happen", []Op{put("a", 0, 1), lost(put("b", 2, 3)), get("a", 4, 5)}, porcupine.Ok},
		{"unknown: it did happen", []Op{put("a", 0, 1), lost(put("b", 2, 3)), get("b", 4, 5)}, porcupine.Ok},
		{"unknown: it happened after its time-out", []Op{put("a", 0, 1), lost(put("b", 2, 3)), get("a", 4, 5), get("b", 6, 7)}, porcupine.Ok},
		{"unknown: it happened, and not again", []Op{put("a", 0, 1), lost(put("b", 2, 3)), get("b", 4, 5), put("c", 6, 7), get("b", 8, 9)}, porcupine.Illegal},
		{"unknown: not before it was asked for", []Op{get("b", 0, 1), lost(put("b", 2, 3))}, porcupine.Illegal},
		{"unknown: a CAS that cannot have happened", []Op{put("a", 0, 1), lost(cas("x", "b", 2, 3)), get("b", 4, 5)}, porcupine.Illegal},
		{"unknown: a chain of CAS, of which the last was found", []Op{put("a", 0, 1), lost(cas("a", "b", 2, 3)), lost(cas("b", "c", 4, 5)), get("c", 6, 7)}, porcupine.Ok},
		{"unknown: the same in an order that cannot be", []Op{put("a", 0, 1), lost(cas("b", "c", 2, 3)), get("c", 4, 5), lost(cas("a", "b", 6, 7))}, porcupine.Illegal},
		{"unknown: a read says nothing", []Op{put("a", 0, 1), lost(get("x", 2, 3))}, porcupine.Ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := put("z", 0, 1)
			other.Key = "another"
			v := Check(append([]Op{other}, c.ops...), enough)
			if v.Result != c.want || (v.Err() == nil) != (c.want == porcupine.Ok) {
				t.Fatalf("%s: %v", v.Result, v.Err())
			}
			if c.want != porcupine.Illegal {
				return
			}
			if v.Key != "k" || v.Stuck == nil || !strings.Contains(v.Err().Error(), "k is not linearizable") {
				t.Errorf("it does not say where: %v", v.Err())
			}
			if open(c.ops) != porcupine.Illegal {
				t.Error("the model with open ends finds nothing wrong")
			}
		})
	}
}

// A check that is out of time says so, and never that all is well.
func TestCheckOutOfTime(t *testing.T) {
	v := Check([]Op{put("a", 0, 1)}, 0)
	if v.Result != porcupine.Unknown || v.Err() == nil {
		t.Fatalf("%s: %v", v.Result, v.Err())
	}
}

// open judges with the meaning of an unknown outcome itself: the write may happen at any time after its call, or never.
func open(ops []Op) porcupine.CheckResult {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{""} },
		Step: func(state, input, _ any) []any {
			o, _ := input.(Op)
			if o.Outcome != Unknown {
				if ok, next := register.Step(state, o, nil); ok {
					return []any{next}
				}
				return nil
			}
			if o.Kind == Put || o.Kind == CAS && state == o.Expect {
				return []any{state, o.Value}
			}
			return []any{state}
		},
	}
	var history []porcupine.Operation
	for _, o := range ops {
		p := porcupine.Operation{Input: o, Call: o.Call, Return: o.Return}
		if o.Outcome == Unknown {
			p.Return = math.MaxInt64
		}
		history = append(history, p)
	}
	return porcupine.CheckOperationsTimeout(m.ToModel(), history, enough)
}

// What settle leaves of unknown outcomes is as much as they say: for histories of all kinds, right and wrong, the verdict
// is that of the search with open ends.
func TestUnknownOutcomesAreJudgedExactly(t *testing.T) {
	seen := map[porcupine.CheckResult]int{}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "n")
		value := func(label string) string {
			if i := rapid.IntRange(0, n).Draw(t, label); i > 0 {
				return fmt.Sprint("v", i)
			}
			return ""
		}
		var ops []Op
		for i := 1; i <= n; i++ {
			call := rapid.Int64Range(0, 30).Draw(t, "call")
			o := Op{Key: "k", Call: call, Return: call + rapid.Int64Range(1, 12).Draw(t, "takes"), Outcome: Done}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				o.Kind, o.Found = Get, value("found")
			case 2:
				o.Kind, o.Value = Put, fmt.Sprint("v", i)
			case 3:
				o.Kind, o.Value, o.Expect = CAS, fmt.Sprint("v", i), value("expect")
				if o.Expect == o.Value {
					o.Expect = ""
				}
				if rapid.Bool().Draw(t, "refused") {
					o.Outcome, o.Found = Refused, value("found")
				}
			}
			if rapid.IntRange(0, 2).Draw(t, "unknown") == 0 {
				o.Outcome = Unknown
			}
			ops = append(ops, o)
		}
		got, want := Check(ops, enough).Result, open(ops)
		if got != want {
			t.Fatalf("%s, and with open ends %s: %+v\nsettled: %+v", got, want, ops, settle(ops))
		}
		seen[got]++
	})
	if seen[porcupine.Ok] == 0 || seen[porcupine.Illegal] == 0 {
		t.Errorf("the histories were all of one kind: %v", seen)
	}
}

// A record without its end is refused: what was under way when it was cut is not in it, and may have happened.
func TestHistoryThatWasCutShort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "history.jsonl")
	l := &Load{File: file, err: &bytes.Buffer{}}
	const line = `{"kind":"put","key":"k","value":"a","outcome":"done","call":1,"return":2}` + "\n"
	for _, c := range []struct {
		name, text string
		whole      bool
		ops        int
	}{
		{"whole", line + `{"kind":"end"}` + "\n", true, 2},
		{"no end", line, false, 1},
		{"a line that is being written", line + `{"kind":"e`, false, 1},
		{"empty", "", false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := l.History(true); (err == nil) != c.whole {
				t.Errorf("whole: %v", err)
			}
			ops, err := l.History(false)
			if err != nil || len(ops) != c.ops {
				t.Errorf("so far: %d, %v", len(ops), err)
			}
		})
	}
}
