// Package engine runs a recovery's plan and resumes it. What was begun, done
// and undone stands in a journal, each line of which is on disk before the next
// thing happens; a process that is killed anywhere goes on from it (I20).
package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/durable"
	"clusteretcd.io/ceo/internal/recovery"
)

// Kind of a journal's line.
type Kind string

// The kinds.
const (
	KindOpen   Kind = "open"   // the first line: carries the header
	KindBegin  Kind = "begin"  // a step is about to change something
	KindDone   Kind = "done"   // a step was done and verified
	KindUndone Kind = "undone" // a step was taken back
	KindFailed Kind = "failed" // the run stopped here and waits for a person
	KindResume Kind = "resume" // a person, or a restart, goes on
	KindNote   Kind = "note"   // something a person wants to know
	KindLetGo  Kind = "let-go" // a person gave a node up
	KindAbort  Kind = "abort"  // a person asked for the way back
	KindEnd    Kind = "end"    // the recovery is over: Text says how
)

// Event is one line of a journal.
type Event struct {
	At   time.Time       `json:"at"`
	Kind Kind            `json:"kind"`
	Step string          `json:"step,omitempty"`
	Node string          `json:"node,omitempty"`
	Text string          `json:"text,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Header is what a recovery was started with.
type Header struct {
	ID            string        `json:"id"`
	Plan          recovery.Plan `json:"plan"`
	SkipHashCheck bool          `json:"skipHashCheck,omitempty"`
	AcceptedRisks []string      `json:"acceptedRisks,omitempty"`
}

// State is what a journal's lines amount to.
type State struct {
	Header
	Started time.Time
	Ended   time.Time
	// Done steps with what they found out.
	Done  map[string]json.RawMessage
	Begun map[string]bool
	LetGo map[string]bool
	// Current is the step that was begun last.
	Current string
	Failed  string
	// Aborting: a person asked for the way back; it is finished, also after a
	// crash, before anything else.
	Aborting bool
	// End is "", done or aborted.
	End string
}

// Replay is pure: the same lines give the same state.
func Replay(events []Event) (State, error) {
	s := State{Done: map[string]json.RawMessage{}, Begun: map[string]bool{}, LetGo: map[string]bool{}}
	if len(events) == 0 || events[0].Kind != KindOpen {
		return s, errors.New("a journal begins with its header, and this one does not")
	}
	if err := json.Unmarshal(events[0].Data, &s.Header); err != nil {
		return s, fmt.Errorf("journal's header: %w", err)
	}
	s.Started = events[0].At
	for _, e := range events[1:] {
		switch e.Kind {
		case KindBegin:
			s.Begun[e.Step], s.Current = true, e.Step
		case KindDone:
			s.Done[e.Step] = e.Data
		case KindUndone:
			delete(s.Done, e.Step)
			delete(s.Begun, e.Step)
		case KindFailed:
			s.Failed = e.Text
		case KindResume:
			s.Failed = ""
		case KindLetGo:
			s.LetGo[e.Node] = true
		case KindAbort:
			s.Aborting = true
		case KindEnd:
			s.End, s.Ended = e.Text, e.At
		case KindOpen, KindNote:
		}
	}
	return s, nil
}

// WaitingFor are the nodes that have yet to join, once all else is done.
func (s State) WaitingFor() []string {
	var out []string
	for _, p := range s.Plan.Steps {
		_, done := s.Done[p.ID]
		switch p.Name() {
		case recovery.StepJoin:
			if !done && !s.LetGo[p.Node] {
				out = append(out, p.Node)
			}
		case recovery.StepDone:
		default:
			if !done {
				return nil
			}
		}
	}
	return out
}

// BeyondReturn reports whether the restored etcd may have served writes.
func (s State) BeyondReturn() bool { return s.Begun[recovery.StepStart] }

// Journal is one recovery's file. It is safe for several goroutines.
type Journal struct {
	mu     sync.Mutex
	f      *os.File
	events []Event
	state  State
	// changed is closed and made anew at each line, for those that watch.
	changed chan struct{}
	now     func() time.Time
}

// ErrExists is returned where the journal of that id is already there.
var ErrExists = errors.New("journal exists")

// Create opens a new journal with its header on disk.
func Create(dir string, h Header, now func() time.Time) (*Journal, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	data, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("journal's header: %w", err)
	}
	f, err := os.OpenFile(path(dir, h.ID), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("recovery %s: %w", h.ID, ErrExists)
		}
		return nil, fmt.Errorf("open the recovery's journal: %w", err)
	}
	j := &Journal{f: f, changed: make(chan struct{}), now: now}
	if err := j.append(Event{Kind: KindOpen, Data: data}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, durable.SyncDir(dir)
}

func path(dir, id string) string { return filepath.Join(dir, id+".jsonl") }

// Open reads a journal and makes it ready for more lines. A last line that was
// cut by a crash was never acted on, and is cut off.
func Open(dir, id string, now func() time.Time) (*Journal, error) {
	p := path(dir, id)
	raw, err := os.ReadFile(p) //nolint:gosec // the id was listed from the folder or checked by the caller
	if err != nil {
		return nil, fmt.Errorf("open recovery %s: %w", id, err)
	}
	events, whole, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	st, err := Replay(events)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // as above
	if err != nil {
		return nil, fmt.Errorf("open recovery %s: %w", id, err)
	}
	if whole < int64(len(raw)) {
		if err := f.Truncate(whole); err != nil {
			return nil, errors.Join(fmt.Errorf("cut the torn last line off %s: %w", p, err), f.Close())
		}
	}
	return &Journal{f: f, events: events, state: st, changed: make(chan struct{}), now: now}, nil
}

func parse(raw []byte) ([]Event, int64, error) {
	var events []Event
	var whole int64
	r := bufio.NewReader(bytes.NewReader(raw))
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return events, whole, nil //nolint:nilerr // what follows the last newline is torn
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			if whole+int64(len(line)) == int64(len(raw)) {
				return events, whole, nil //nolint:nilerr // the last line, torn by a crash: it was never acted on
			}
			return nil, 0, fmt.Errorf("line %d is damaged: %w", n, err)
		}
		events = append(events, e)
		whole += int64(len(line))
	}
}

// List returns the ids in the folder, oldest first (an id begins with its
// time).
func List(dir string) ([]string, error) {
	es, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list recoveries: %w", err)
	}
	var ids []string
	for _, e := range es {
		if id, ok := strings.CutSuffix(e.Name(), ".jsonl"); ok && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Append writes one line and returns once it is on disk.
func (j *Journal) Append(e Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.append(e)
}

func (j *Journal) append(e Event) error {
	if j.state.End != "" {
		return fmt.Errorf("recovery %s is over (%s)", j.state.ID, j.state.End)
	}
	e.At = j.now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := j.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("journal: nothing more is done, as it cannot be recorded: %w", err)
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("journal: nothing more is done, as it cannot be recorded: %w", err)
	}
	j.events = append(j.events, e)
	st, err := Replay(j.events)
	if err != nil {
		return err
	}
	j.state = st
	close(j.changed)
	j.changed = make(chan struct{})
	return nil
}

// State is what it amounts to now.
func (j *Journal) State() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}

// Since returns the lines from the n-th on, and a channel that is closed when
// there are more.
func (j *Journal) Since(n int) ([]Event, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n > len(j.events) {
		n = len(j.events)
	}
	return slices.Clone(j.events[n:]), j.changed
}

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.f.Close()
}
