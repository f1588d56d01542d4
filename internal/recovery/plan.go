package recovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Steps of a recovery, in their order. A step that is done once a node has
// "/NODE" after its name.
const (
	StepVerify       = "verify"
	StepFence        = "fence"
	StepStage        = "stage"
	StepArchive      = "archive"
	StepActivate     = "activate"
	StepStart        = "start"
	StepLeases       = "leases"
	StepControlPlane = "control-plane"
	StepAnnounce     = "announce"
	StepJoin         = "join"
	StepDone         = "done"
)

// Step is one line of a plan.
type Step struct {
	ID     string `json:"id"`
	Node   string `json:"node"`
	Text   string `json:"text"`
	Undo   bool   `json:"undo"`
	NoUndo bool   `json:"pointOfNoReturn,omitempty"`
}

// Name is the step's kind without its node.
func (s Step) Name() string {
	name, _, _ := strings.Cut(s.ID, "/")
	return name
}

// Plan is what a person is shown and what is run: the same value.
type Plan struct {
	ID          string   `json:"id"`
	ClusterName string   `json:"clusterName"`
	Coordinator string   `json:"coordinator"`
	Epoch       int64    `json:"epoch"`
	Supersedes  string   `json:"supersedes,omitempty"`
	TakesOver   string   `json:"takesOver,omitempty"`
	Served      int64    `json:"served"`
	Diagnosis   string   `json:"diagnosis"`
	Source      Source   `json:"source"`
	Rejected    []string `json:"rejected,omitempty"`
	Safety      string   `json:"safety"`
	MayLose     []string `json:"mayLose"`
	Risks       []Risk   `json:"risks,omitempty"`
	// Nodes are all that are to have a voter in the end, the coordinator first.
	Nodes []PlanNode `json:"nodes"`
	Steps []Step     `json:"steps"`

	Refused     string      `json:"refused,omitempty"`
	RefusedKind RefusalKind `json:"refusedKind,omitempty"`
}

// PlanNode is a node as the plan knows it.
type PlanNode struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	PeerURL string `json:"peerURL"`
	// Dark: its agent did not answer when the plan was made.
	Dark bool `json:"dark,omitempty"`
}

// Make turns an observation into a plan.
func Make(o Observation) Plan {
	d := Decide(o)
	p := Plan{
		ClusterName: o.ClusterName, Coordinator: o.Coordinator, Epoch: d.Epoch, Supersedes: d.Supersedes, TakesOver: d.TakesOver, Served: d.Served,
		Diagnosis: d.Diagnosis, Source: d.Source, Rejected: d.Rejected, Safety: d.Safety, MayLose: d.MayLose,
		Risks: d.Risks, Refused: d.Refused, RefusedKind: d.RefusedKind,
	}
	if d.Refused != "" {
		return p
	}
	p.Nodes = planNodes(o)
	p.Steps = steps(p)
	p.ID = p.digest()
	return p
}

func planNodes(o Observation) []PlanNode {
	var ns []PlanNode
	for _, n := range o.Nodes {
		ns = append(ns, PlanNode{Name: n.Name, Address: n.Address, PeerURL: n.PeerURL, Dark: n.Unreachable != ""})
	}
	// The coordinator first, then those that are there, then the dark ones.
	rank := func(n PlanNode) int {
		switch {
		case n.Name == o.Coordinator:
			return 0
		case !n.Dark:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(ns, func(a, b PlanNode) int {
		if r := rank(a) - rank(b); r != 0 {
			return r
		}
		return strings.Compare(a.Name, b.Name)
	})
	return ns
}

func steps(p Plan) []Step {
	c := p.Coordinator
	src := "the snapshot"
	ss := []Step{{StepVerify, c, fmt.Sprintf("read %s whole and verify it (revision %d, %d keys, %s)", src, p.Source.Revision, p.Source.Keys, Bytes(uint64(max(0, p.Source.Size)))), true, false}}
	for _, n := range p.Nodes {
		if !n.Dark {
			ss = append(ss, Step{StepFence + "/" + n.Name, n.Name, "take kube-apiserver, controller-manager and scheduler out of service, hold etcd", true, false})
		}
	}
	ss = append(ss,
		Step{StepStage, c, "restore the snapshot beside the data dir and verify it", true, false},
		Step{StepArchive, c, "set the present data dir aside", true, false},
		Step{StepActivate, c, fmt.Sprintf("put the restored data in place, epoch %d", p.Epoch), true, false},
		Step{StepStart, c, "start etcd as a new one-member cluster", false, true},
		Step{StepLeases, c, "delete the leases of API servers that are gone", false, false},
		Step{StepControlPlane, c, "start kube-apiserver, controller-manager and scheduler, wait until the API answers", false, false},
	)
	for _, n := range p.Nodes {
		if !n.Dark && n.Name != c {
			ss = append(ss, Step{StepAnnounce + "/" + n.Name, n.Name, fmt.Sprintf("tell it of epoch %d and release its etcd: the old data is set aside", p.Epoch), false, false})
		}
	}
	for _, n := range p.Nodes {
		if n.Name == c {
			continue
		}
		text := "join as learner, catch up, promote; start its control plane"
		if n.Dark {
			text = "when it comes back: set its old data aside, join, promote; start its control plane"
		}
		ss = append(ss, Step{StepJoin + "/" + n.Name, n.Name, text, false, false})
	}
	return append(ss, Step{StepDone, c, fmt.Sprintf("check that all %d voters are healthy", len(p.Nodes)), false, false})
}

// digest covers what decides what will be done and what is lost by it, so that
// a plan that a person agreed to is refused if that has changed since (I14).
// The served revision and all words are left out: they move all the time and
// change nothing.
func (p Plan) digest() string {
	var risks, steps []string
	for _, r := range p.Risks {
		risks = append(risks, r.Name)
	}
	for _, s := range p.Steps {
		steps = append(steps, s.ID)
	}
	slices.Sort(risks)
	b, err := json.Marshal(struct {
		Cluster, Coordinator string
		Epoch                int64
		SHA256               string
		Risks                []string
		Nodes                []PlanNode
		Steps                []string
	}{p.ClusterName, p.Coordinator, p.Epoch, p.Source.SHA256, risks, p.Nodes, steps})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	h := hex.EncodeToString(sum[:4])
	return h[:4] + "-" + h[4:]
}

// Consent checks what a person agreed to against the plan.
func (p Plan) Consent(planID, cluster string, accepted []string) error {
	if p.Refused != "" {
		return &RefusedError{Kind: p.RefusedKind, Text: p.Refused}
	}
	if cluster != p.ClusterName {
		return &RefusedError{Unsafe, fmt.Sprintf("this is cluster %q, and %q was confirmed: give --confirm-cluster=%s if that is the one you mean", p.ClusterName, cluster, p.ClusterName)}
	}
	for _, name := range accepted {
		if !slices.Contains(knownRisks, name) {
			return &RefusedError{Impossible, fmt.Sprintf("--accept-risk=%s: there is no such risk; the plan names those that it has (%s are all)", name, strings.Join(knownRisks, ", "))}
		}
	}
	for _, r := range p.Risks {
		if !slices.Contains(accepted, r.Name) {
			return &RefusedError{Unsafe, fmt.Sprintf("%s; if you accept that, add --accept-risk=%s", r.Text, r.Name)}
		}
	}
	if planID != "" && planID != p.ID {
		return &RefusedError{Unsafe, fmt.Sprintf("what was observed has changed since plan %s was shown (now %s): look at it again with `ceo recover --plan`", planID, p.ID)}
	}
	return nil
}

// RefusedError is a refusal with its kind.
type RefusedError struct {
	Kind RefusalKind
	Text string
}

func (e *RefusedError) Error() string { return e.Text }
