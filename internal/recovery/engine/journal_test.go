package engine

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/recovery"
)

func clock() time.Time { return time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC) }

func plan() recovery.Plan {
	return recovery.Plan{
		ID: "p", Coordinator: "cp-1",
		Nodes: []recovery.PlanNode{{Name: "cp-1"}, {Name: "cp-2"}, {Name: "cp-3"}},
		Steps: []recovery.Step{
			{ID: "verify", Node: "cp-1"},
			{ID: "fence/cp-1", Node: "cp-1"},
			{ID: "start", Node: "cp-1"},
			{ID: "join/cp-2", Node: "cp-2"},
			{ID: "join/cp-3", Node: "cp-3"},
			{ID: "done", Node: "cp-1"},
		},
	}
}

func create(t *testing.T) (*Journal, string) {
	t.Helper()
	dir := t.TempDir()
	j, err := Create(dir, Header{ID: "r1", Plan: plan()}, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, dir
}

func add(t *testing.T, j *Journal, es ...Event) {
	t.Helper()
	for _, e := range es {
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournalIsOfOneRecovery(t *testing.T) {
	_, dir := create(t)
	if _, err := Create(dir, Header{ID: "r1"}, clock); !errors.Is(err, ErrExists) {
		t.Fatalf("a journal was overwritten: %v", err)
	}
}

// I20, I21: cut anywhere, a journal opens with the lines that were whole, and
// can be gone on with; no line that was on disk before the cut is lost.
func TestCutAnywhere(t *testing.T) {
	j, dir := create(t)
	add(t, j, Event{Kind: KindBegin, Step: "verify"}, Event{Kind: KindDone, Step: "verify", Data: json.RawMessage(`"x"`)}, Event{Kind: KindBegin, Step: "fence/cp-1"})
	raw, err := os.ReadFile(filepath.Join(dir, "r1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	header := strings.Index(string(raw), "\n") + 1
	for cut := header; cut <= len(raw); cut++ {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "r1.jsonl"), raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(d, "r1", clock)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		whole := strings.Count(string(raw[:cut]), "\n")
		if got, _ := again.Since(0); len(got) != whole {
			t.Fatalf("cut at %d: %d lines, want %d", cut, len(got), whole)
		}
		add(t, again, Event{Kind: KindResume})
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		third, err := Open(d, "r1", clock)
		if err != nil {
			t.Fatalf("cut at %d and gone on with: %v", cut, err)
		}
		if got, _ := third.Since(0); len(got) != whole+1 {
			t.Fatalf("cut at %d: %d lines after one more", cut, len(got))
		}
		if err := third.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageInTheMiddleIsNoTear(t *testing.T) {
	j, dir := create(t)
	add(t, j, Event{Kind: KindBegin, Step: "verify"}, Event{Kind: KindDone, Step: "verify"})
	p := filepath.Join(dir, "r1.jsonl")
	raw, err := os.ReadFile(p) //nolint:gosec // a test's own file
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(raw), "\n")
	lines[1] = "{broken\n"
	if err := os.WriteFile(p, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "r1", clock); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Fatalf("a damaged journal was believed: %v", err)
	}
}

func TestReplay(t *testing.T) {
	begin := func(s string) Event { return Event{Kind: KindBegin, Step: s} }
	done := func(s string) Event { return Event{Kind: KindDone, Step: s} }
	all := []Event{begin("verify"), done("verify"), begin("fence/cp-1"), done("fence/cp-1"), begin("start"), done("start")}
	for _, c := range []struct {
		name   string
		events []Event
		check  func(State) bool
	}{
		{"before the point of no return", all[:4], func(s State) bool { return !s.BeyondReturn() && s.WaitingFor() == nil }},
		{"begun is beyond it: etcd may have served", all[:5], func(s State) bool { return s.BeyondReturn() }},
		{"only joins are left", all, func(s State) bool { return slices.Equal(s.WaitingFor(), []string{"cp-2", "cp-3"}) }},
		{"a node that was let go is not waited for", append(slices.Clone(all), Event{Kind: KindLetGo, Node: "cp-2"}), func(s State) bool { return slices.Equal(s.WaitingFor(), []string{"cp-3"}) }},
		{"failed until resumed", append(slices.Clone(all), Event{Kind: KindFailed, Text: "x"}), func(s State) bool { return s.Failed == "x" }},
		{"resumed", append(slices.Clone(all), Event{Kind: KindFailed, Text: "x"}, Event{Kind: KindResume}), func(s State) bool { return s.Failed == "" }},
		{"undone is neither begun nor done", append(slices.Clone(all[:4]), Event{Kind: KindAbort}, Event{Kind: KindUndone, Step: "fence/cp-1"}), func(s State) bool {
			_, d := s.Done["fence/cp-1"]
			return s.Aborting && !d && !s.Begun["fence/cp-1"]
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, _ := create(t)
			add(t, j, c.events...)
			if s := j.State(); !c.check(s) {
				t.Fatalf("%+v", s)
			}
		})
	}
}

func TestNothingAfterTheEnd(t *testing.T) {
	j, _ := create(t)
	add(t, j, Event{Kind: KindEnd, Text: "done"})
	if err := j.Append(Event{Kind: KindBegin, Step: "verify"}); err == nil {
		t.Fatal("a step was begun in a recovery that is over")
	}
}

// The state is a function of the lines: written one by one or read back.
func TestReadBackIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "journal")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		j, err := Create(dir, Header{ID: "r", Plan: plan()}, clock)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 12).Draw(t, "lines") {
			e := Event{
				Kind: rapid.SampledFrom([]Kind{KindBegin, KindDone, KindUndone, KindFailed, KindResume, KindNote, KindLetGo, KindAbort}).Draw(t, "kind"),
				Step: rapid.SampledFrom([]string{"verify", "start", "join/cp-2"}).Draw(t, "step"), Node: "cp-2", Text: "t",
			}
			if err := j.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		want, err := json.Marshal(j.State())
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := Open(dir, "r", clock)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = again.Close() }()
		got, err := json.Marshal(again.State())
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Fatalf("read back %s, was %s", got, want)
		}
	})
}
