package ui

import (
	"fmt"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

// Event is a line of a recovery, as JSON has it.
type Event struct {
	At time.Time `json:"at"`
	// Seconds since the command was given.
	Seconds float64 `json:"seconds"`
	Kind    string  `json:"kind"`
	Step    string  `json:"step,omitempty"`
	Node    string  `json:"node,omitempty"`
	Text    string  `json:"text,omitempty"`
	// Recovery is its state when the event was sent.
	ID         string   `json:"recovery"`
	State      string   `json:"state"`
	WaitingFor []string `json:"waitingFor,omitempty"`
}

// Progress turns events into lines. Its zero is when the command was given.
type Progress struct {
	zero  time.Time
	begun map[string]time.Time
	all   []Event
}

// NewProgress counts from zero; a zero time counts from the first event.
func NewProgress(zero time.Time) *Progress {
	return &Progress{zero: zero, begun: map[string]time.Time{}}
}

// Seen is how many events there were.
func (p *Progress) Seen() int { return len(p.all) }

// Add takes an event and gives it its time.
func (p *Progress) Add(e *agentpb.RecoveryEvent) Event {
	at := e.GetAt().AsTime()
	if p.zero.IsZero() {
		p.zero = at
	}
	r := e.GetRecovery()
	out := Event{
		At: at, Seconds: at.Sub(p.zero).Round(time.Millisecond).Seconds(), Kind: e.GetKind(), Step: e.GetStep(), Node: e.GetNode(), Text: e.GetText(),
		ID: r.GetId(), State: r.GetState(), WaitingFor: r.GetWaitingFor(),
	}
	if out.Kind == "begin" {
		p.begun[out.Step] = at
	}
	p.all = append(p.all, out)
	return out
}

var marks = map[string]string{
	"open": "▶", "begin": "…", "done": "✔", "undone": "↶", "failed": "✗", "resume": "▶", "note": "·", "let-go": "·", "abort": "↶", "end": "■",
}

// Line of an event that was added.
func (p *Progress) Line(e Event, s Style) string {
	mark := marks[e.Kind]
	if mark == "" {
		mark = "·"
	}
	text := e.Text
	step, _, _ := strings.Cut(e.Step, "/")
	switch e.Kind {
	case "open":
		text = "recovery " + e.ID + " begins"
	case "done":
		mark = s.good(mark)
		if b, ok := p.begun[e.Step]; ok {
			text = fmt.Sprintf("done after %.1fs", e.At.Sub(b).Seconds())
		} else {
			text = "done"
		}
	case "undone":
		text = "taken back"
	case "failed":
		mark, text = s.bad(mark), s.bad(text)
	case "resume":
		text = "goes on: " + e.Text
	case "let-go":
		text = "is not waited for any more: " + e.Text
	case "abort":
		text = "the way back: " + e.Text
	case "end":
		text = "recovery " + e.ID + " is " + e.Text
	}
	return strings.TrimRight(fmt.Sprintf("%s  %s %-6s %-13s  %s", seconds(p.duration(e)), mark, e.Node, step, text), " ") + "\n"
}

func (p *Progress) duration(e Event) time.Duration { return e.At.Sub(p.zero) }

// Milestone is a point in a recovery that people wait for.
type Milestone struct {
	What    string  `json:"what"`
	Seconds float64 `json:"seconds"`
}

// Timeline of what was reached: from the command to each voter.
func (p *Progress) Timeline() []Milestone {
	ms := []Milestone{{"command", 0}}
	for _, e := range p.all {
		what := ""
		step, _, _ := strings.Cut(e.Step, "/")
		switch {
		case e.Kind == "end":
			what = e.Text
		case e.Kind != "done":
		case step == "start":
			what = "etcd serves"
		case step == "control-plane":
			what = "API answers"
		case step == "join":
			what = e.Node + " is a voter"
		}
		if what != "" {
			ms = append(ms, Milestone{what, e.Seconds})
		}
	}
	return ms
}

// TimelineText is the time-line below each other.
func TimelineText(ms []Milestone) string {
	if len(ms) < 2 {
		return ""
	}
	var b strings.Builder
	b.WriteString("Time-line\n")
	for _, m := range ms {
		fmt.Fprintf(&b, "%s  %s\n", seconds(time.Duration(m.Seconds*float64(time.Second))), m.What)
	}
	return b.String()
}

// Outcome ends the JSON of a run.
type Outcome struct {
	ID         string      `json:"recovery"`
	State      string      `json:"state"`
	Step       string      `json:"step,omitempty"`
	Error      string      `json:"error,omitempty"`
	WaitingFor []string    `json:"waitingFor,omitempty"`
	Timeline   []Milestone `json:"timeline"`
}
