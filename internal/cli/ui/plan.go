package ui

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"clusteretcd.io/ceo/internal/agent/agentpb"
)

// Plan is what a recovery would do, as a person or a script reads it.
type Plan struct {
	ID        string   `json:"id,omitempty"`
	Cluster   string   `json:"cluster"`
	Diagnosis string   `json:"diagnosis"`
	Source    string   `json:"source,omitempty"`
	Rejected  []string `json:"rejected,omitempty"`
	Safety    string   `json:"safety,omitempty"`
	Steps     []Step   `json:"steps,omitempty"`
	MayLose   []string `json:"mayLose,omitempty"`
	Risks     []Risk   `json:"risks,omitempty"`
	// Refused is why nothing can be done; RefusedKind is unsafe, locked or error.
	Refused     string `json:"refused,omitempty"`
	RefusedKind string `json:"refusedKind,omitempty"`
}

// Step of a plan.
type Step struct {
	ID              string `json:"id"`
	Node            string `json:"node"`
	Text            string `json:"text"`
	CanBeUndone     bool   `json:"canBeUndone"`
	PointOfNoReturn bool   `json:"pointOfNoReturn,omitempty"`
}

// Risk that has to be accepted by its name.
type Risk struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// PlanOf takes a plan over from the agent's words.
func PlanOf(p *agentpb.Plan) Plan {
	out := Plan{
		ID: p.GetId(), Cluster: p.GetClusterName(), Diagnosis: p.GetDiagnosis(), Source: p.GetSource(), Rejected: p.GetRejected(),
		Safety: p.GetSafety(), MayLose: p.GetMayLose(), Refused: p.GetRefused(), RefusedKind: p.GetRefusedKind(),
	}
	for _, s := range p.GetSteps() {
		out.Steps = append(out.Steps, Step{s.GetId(), s.GetNode(), s.GetText(), s.GetUndoable(), s.GetPointOfNoReturn()})
	}
	for _, r := range p.GetRisks() {
		out.Risks = append(out.Risks, Risk{r.GetName(), r.GetText()})
	}
	return out
}

// Text of a plan.
func (p Plan) Text(s Style) string {
	var b strings.Builder
	const width = 11
	one := func(label, text string) {
		if text != "" {
			b.WriteString(labelled(label, width, []string{text}))
		}
	}
	one("Diagnosis", p.Diagnosis)
	one("Source", p.Source)
	b.WriteString(labelled("Rejected", width, p.Rejected))
	if p.Refused != "" {
		one("Refused", s.bad(p.Refused))
		return b.String()
	}
	one("Safety", p.Safety)
	nodeWidth, textWidth := 0, 0
	for _, st := range p.Steps {
		nodeWidth = max(nodeWidth, utf8.RuneCountInString(st.Node))
		if st.CanBeUndone || st.PointOfNoReturn {
			textWidth = max(textWidth, utf8.RuneCountInString(st.Text))
		}
	}
	for i, st := range p.Steps {
		mark := ""
		switch {
		case st.PointOfNoReturn:
			mark = s.bold("POINT OF NO RETURN once it serves writes")
		case st.CanBeUndone:
			mark = "can be undone"
		}
		pad := strings.Repeat(" ", max(0, textWidth-utf8.RuneCountInString(st.Text)))
		line := fmt.Sprintf("%2d  %-*s  %s%s  %s", i+1, nodeWidth, st.Node, st.Text, pad, mark)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	b.WriteString(labelled("May lose", width, p.MayLose))
	var risks []string
	for _, r := range p.Risks {
		risks = append(risks, s.warn("⚠ ")+r.Text, "  accepted by --accept-risk="+r.Name)
	}
	b.WriteString(labelled("Risks", width, risks))
	fmt.Fprintf(&b, "Plan %s; refused if what was observed changes\n", p.ID)
	return b.String()
}

// darkWords begin the text of a node's join that was dark when the plan was
// made.
const darkWords = "when it comes back"

// Dark are the nodes that did not answer when the plan was made.
func (p Plan) Dark() map[string]bool {
	dark := map[string]bool{}
	for _, s := range p.Steps {
		if strings.HasPrefix(s.ID, "join/") && strings.HasPrefix(s.Text, darkWords) {
			dark[s.Node] = true
		}
	}
	return dark
}
