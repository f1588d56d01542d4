package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Op is one operation of one client on one key, as `load history` records it. Every value that is written is written once
// in a history, so that whoever reads a value says which write it saw.
type Op struct {
	Client int    `json:"client"`
	Member string `json:"member"`
	Kind   OpKind `json:"kind"`
	Key    string `json:"key"`
	// Value that a put writes, or a CAS if the key holds Expect; "" is no key.
	Value  string `json:"value,omitempty"`
	Expect string `json:"expect,omitempty"`
	// Found is what a get, or a CAS that was refused, found.
	Found   string  `json:"found,omitempty"`
	Outcome Outcome `json:"outcome"`
	// Nanoseconds on one monotonic clock.
	Call   int64  `json:"call"`
	Return int64  `json:"return"`
	Error  string `json:"error,omitempty"`
}

// OpKind is what an operation does. End is the last line of a record that is whole.
type OpKind string

// The kinds of operations.
const (
	Get OpKind = "get"
	Put OpKind = "put"
	CAS OpKind = "cas"
	End OpKind = "end"
)

// Outcome is what the client was told.
type Outcome string

// The outcomes. Of a write that failed nothing is known: it may have happened, or happen at any later time.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused"
	Unknown Outcome = "unknown"
)

// Verdict of a check.
type Verdict struct {
	Result porcupine.CheckResult
	// Key whose history is not linearizable, or was not decided in time, and the first operation that fits nowhere.
	Key   string
	Stuck *Op
	// Ops that were judged, and writes among the recorded ones whose outcome no client knows.
	Ops, Unknown int
}

// Err is nil if the history is linearizable.
func (v Verdict) Err() error {
	switch v.Result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("the history of %s was not decided in time", v.Key)
	}
	at := "none"
	if v.Stuck != nil {
		at = fmt.Sprintf("%+v", *v.Stuck)
	}
	return fmt.Errorf("the history of %s is not linearizable; the first operation that fits nowhere: %s", v.Key, at)
}

// Check says whether a history could be one register's per key, with each operation at one moment between its call and its
// return (I9: an acknowledged write that is lost, or a stale read, is not).
func Check(ops []Op, limit time.Duration) Verdict {
	until := time.Now().Add(limit)
	keys := map[string][]Op{}
	v := Verdict{Result: porcupine.Ok}
	for _, o := range ops {
		if o.Kind == End {
			continue
		}
		if o.Kind != Get && o.Outcome == Unknown {
			v.Unknown++
		}
		keys[o.Key] = append(keys[o.Key], o)
	}
	names := make([]string, 0, len(keys))
	for k := range keys {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		sure := settle(keys[k])
		v.Ops += len(sure)
		left := time.Until(until)
		if left <= 0 {
			v.Result, v.Key = porcupine.Unknown, k // 0 would be no limit
			return v
		}
		result, info := porcupine.CheckOperationsVerbose(register, operations(sure), left)
		if result != porcupine.Ok {
			v.Result, v.Key = result, k
			if result == porcupine.Illegal {
				v.Stuck = stuck(sure, info)
			}
			return v
		}
	}
	return v
}

// settle leaves one key's operations that are sure to have happened. A write with an unknown outcome stands for one that
// may have happened at any time after its call, or never; as its value is nobody else's, that is exactly as much as this:
// where somebody found the value it did happen, before the first who found it was told; where nobody did, it can be
// thought to have happened after everything else, so it says nothing. The search has no open ends then, which would each
// double it.
func settle(ops []Op) []Op {
	found := map[string]int64{}
	for _, o := range ops {
		v := ""
		switch {
		case o.Outcome == Unknown:
			continue
		case o.Kind == Get, o.Kind == CAS && o.Outcome == Refused:
			v = o.Found
		case o.Kind == CAS:
			v = o.Expect
		}
		if t, ok := found[v]; v != "" && (!ok || o.Return < t) {
			found[v] = o.Return
		}
	}
	// A CAS of unknown outcome that did happen has found a value as well: once more for each in a chain of them.
	for again := true; again; {
		again = false
		for _, o := range ops {
			t, ok := found[o.Value]
			if o.Kind != CAS || o.Outcome != Unknown || !ok || o.Expect == "" {
				continue
			}
			if e, ok := found[o.Expect]; !ok || t < e {
				found[o.Expect], again = t, true
			}
		}
	}
	var out []Op
	for _, o := range ops {
		if o.Outcome != Unknown {
			out = append(out, o)
			continue
		}
		if t, ok := found[o.Value]; ok && o.Kind != Get {
			// One that was found before it was asked for stays after its call: the model refuses it.
			o.Outcome, o.Return = Done, max(t, o.Call)
			out = append(out, o)
		}
	}
	return out
}

// register is one key: its state is its value.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		o, ok := input.(Op)
		if !ok {
			return false, state
		}
		switch {
		case o.Kind == Put:
			return true, o.Value
		case o.Kind == CAS && o.Outcome == Done:
			return state == o.Expect, o.Value
		case o.Kind == CAS:
			return state == o.Found && state != o.Expect, state
		}
		return state == o.Found, state
	},
}

func operations(ops []Op) []porcupine.Operation {
	out := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		out[i] = porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: o.Return}
	}
	return out
}

// stuck is the operation that returned first of those which the longest part that fits does not hold.
func stuck(ops []Op, info porcupine.LinearizationInfo) *Op {
	var longest []int
	for _, partition := range info.PartialLinearizations() {
		for _, p := range partition {
			if len(p) > len(longest) {
				longest = p
			}
		}
	}
	fits := make(map[int]bool, len(longest))
	for _, i := range longest {
		fits[i] = true
	}
	var first *Op
	for i := range ops {
		if !fits[i] && (first == nil || ops[i].Return < first.Return) {
			first = &ops[i]
		}
	}
	return first
}

// History so far, of a recorder. whole: it must have ended in good order, for of one that was cut short it is not known
// what else it had asked for.
func (l *Load) History(whole bool) ([]Op, error) {
	raw, err := os.ReadFile(l.File)
	if errors.Is(err, os.ErrNotExist) && !whole {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Op
	r := bufio.NewReader(bytes.NewReader(raw))
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break // the end, or a line that is not whole yet
		}
		var o Op
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, fmt.Errorf("record of operations: %w", err)
		}
		out = append(out, o)
	}
	if n := len(out); whole && (n == 0 || out[n-1].Kind != End) {
		return nil, fmt.Errorf("the record of %d operations has no end: the recorder was cut short: %s", n, tail(l.err.String()))
	}
	return out, nil
}
