package recovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/node"
)

const oldCluster = "aaaa"

func lineage() node.Lineage { return node.Lineage{{Epoch: 0, ClusterID: oldCluster}} }

func members(n int) []Member {
	var ms []Member
	for i := 1; i <= n; i++ {
		ms = append(ms, Member{ID: fmt.Sprint(i), Name: fmt.Sprintf("cp-%d", i), PeerURL: fmt.Sprintf("https://10.0.0.%d:2380", i)})
	}
	return ms
}

func up(i int) Node {
	return Node{
		Name: fmt.Sprintf("cp-%d", i), Address: fmt.Sprintf("10.0.0.%d", i), PeerURL: fmt.Sprintf("https://10.0.0.%d:2380", i),
		Lineage: lineage(), Served: 900, GuardedEtcd: true, DiskFree: 1 << 30,
		Data: Data{State: "present", ClusterID: oldCluster, Members: members(3), Revision: 900},
		Etcd: Etcd{Answers: true, HasLeader: true, ClusterID: oldCluster, Members: members(3), Linearizable: true, Revision: 900},
	}
}

func dark(i int) Node {
	n := up(i)
	return Node{Name: n.Name, Address: n.Address, PeerURL: n.PeerURL, Unreachable: "time-out after 3s"}
}

func wiped(i int) Node {
	n := up(i)
	n.Data, n.Etcd = Data{State: "none"}, Etcd{}
	return n
}

func leaderless(i int) Node {
	n := up(i)
	n.Etcd.HasLeader, n.Etcd.Linearizable = false, false
	return n
}

func good() Source {
	return Source{Label: "snapshot.db", Ref: "snapshot.db", SHA256: strings.Repeat("ab", 32), Size: 4 << 20, Revision: 800, Keys: 10, MemberNames: []string{"cp-1", "cp-2", "cp-3"}}
}

func observed(nodes ...Node) Observation {
	return Observation{ClusterName: "prod", Coordinator: "cp-1", Nodes: nodes, Sources: []Source{good()}}
}

func risks(p Plan) string {
	var out []string
	for _, r := range p.Risks {
		out = append(out, r.Name)
	}
	return strings.Join(out, ",")
}

func TestPlan(t *testing.T) {
	with := func(o Observation, f func(*Observation)) Observation { f(&o); return o }
	for _, c := range []struct {
		name    string
		o       Observation
		refused RefusalKind
		says    string // part of the refusal, the diagnosis or the safety
		risks   string
	}{
		{"quorum lost, the data of this node gone, the others dark", observed(wiped(1), dark(2), dark(3)), "", "cp-1 lost its data", RiskUnreachableQuorum},
		{"quorum lost, one dark alone cannot elect", observed(leaderless(1), wiped(2), dark(3)), "", "cannot elect a leader", ""},
		{"I13: a quorate cluster needs a named consent", observed(up(1), up(2), up(3)), "", "the cluster lives", RiskRollback},
		{"I13: quorate without this node", observed(wiped(1), up(2), up(3)), "", "the cluster lives", RiskRollback},
		{"I23: a leader without a linearizable answer is no proof of a quorum", observed(with2(up(1), func(n *Node) { n.Etcd.Linearizable = false }), dark(2), dark(3)), "", "quorum lost", RiskUnreachableQuorum},
		{"P11: a second recovery while one runs", observed(wiped(1), with2(up(2), func(n *Node) { n.OpenRecovery = "x" })), Locked, "recovery x is open", ""},
		{"P11: a node held by a recovery whose coordinator is dark", observed(wiped(1), with2(leaderless(2), func(n *Node) { n.Hold = HoldPrefix + "y" }), dark(3)), "", "cannot elect", RiskTakeOver},
		{"P11: a node held by a recovery whose coordinator answers", observed(wiped(1), with2(leaderless(2), func(n *Node) { n.Hold = HoldPrefix + "y" }), with2(leaderless(3), func(n *Node) { n.OpenRecovery = "y" })), Locked, "recovery y is open", ""},
		{"mission row 17: no snapshot", with(observed(wiped(1), dark(2), dark(3)), func(o *Observation) { o.Sources = nil }), Impossible, "--from FILE", ""},
		{"P13: a bad snapshot", with(observed(wiped(1)), func(o *Observation) { o.Sources[0].Problem = "cut short" }), Impossible, "cut short; nothing was changed", ""},
		{"a snapshot without a hash names its flag", with(observed(wiped(1)), func(o *Observation) {
			o.Sources[0].Problem, o.Sources[0].NeedsFlag = "no hash", "--skip-hash-check"
		}), Impossible, "--skip-hash-check", ""},
		{"P27, I25: a disk too full", observed(with2(wiped(1), func(n *Node) { n.DiskFree = 1 << 20 }), dark(2)), Impossible, "free space there", ""},
		{"I22, P30: data newer than etcd", with(observed(with2(wiped(1), func(n *Node) { n.EtcdVersion = "3.5.21" })), func(o *Observation) { o.Sources[0].StorageVersion = "3.7" }), Impossible, "3.7", ""},
		{"another cluster's snapshot", with(observed(leaderless(1), leaderless(2), leaderless(3)), func(o *Observation) { o.Sources[0].MemberNames = []string{"x"} }), "", "quorum lost", RiskForeignSnapshot},
		{"a backup of another CA", with(observed(leaderless(1), leaderless(2), leaderless(3)), func(o *Observation) { o.Sources[0].Foreign = "its CA is another" }), "", "quorum lost", RiskForeignSnapshot},
		{"P8: a backup made with another service account key", with(observed(leaderless(1), leaderless(2), leaderless(3)), func(o *Observation) { o.Sources[0].OtherServiceAccountKey = "tokens get 401" }), "", "quorum lost", RiskServiceAccountKey},
		{"P7, I25: a backup that needs an encryption key that is not here", with(observed(wiped(1)), func(o *Observation) { o.Sources[0].Problem = "needs the encryption key aescbc/key1" }), Impossible, "aescbc/key1", ""},
		{"two recoveries apart from each other", observed(with2(wiped(1), func(n *Node) { n.Lineage = append(lineage(), node.Generation{Epoch: 1, ClusterID: "b"}) }), with2(up(2), func(n *Node) { n.Lineage = append(lineage(), node.Generation{Epoch: 1, ClusterID: "c"}) })), Unsafe, "two recoveries", ""},
		{"the coordinator itself was not observed", observed(dark(1), up(2)), Impossible, "was not observed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Make(c.o)
			if p.RefusedKind != c.refused || (p.Refused == "") != (c.refused == "") {
				t.Fatalf("refused %q: %s", p.RefusedKind, p.Refused)
			}
			if !strings.Contains(p.Refused+p.Diagnosis+p.Safety, c.says) {
				t.Fatalf("%q is not in %q, %q, %q", c.says, p.Refused, p.Diagnosis, p.Safety)
			}
			if got := risks(p); c.refused == "" && got != c.risks {
				t.Fatalf("risks %q, want %q", got, c.risks)
			}
			if c.refused != "" && len(p.Steps) != 0 {
				t.Fatal("a refused plan has steps")
			}
		})
	}
}

func with2(n Node, f func(*Node)) Node { f(&n); return n }

// I11, P15: of several snapshots the one whose own data is newest is taken,
// and what the others would lose is said.
func TestNewestSourceByItsOwnRevision(t *testing.T) {
	o := observed(wiped(1), dark(2), dark(3))
	older, newer, broken := good(), good(), good()
	older.Label, older.Revision = "older", 700
	newer.Label, newer.Revision = "newer", 850
	broken.Label, broken.Revision, broken.Problem = "broken", 0, "flipped"
	o.Sources = []Source{older, broken, newer}
	p := Make(o)
	if p.Source.Label != "newer" {
		t.Fatalf("took %s", p.Source.Label)
	}
	all := strings.Join(p.Rejected, "\n")
	if !strings.Contains(all, "older: 150 revisions older") || !strings.Contains(all, "broken: flipped") {
		t.Fatalf("rejected: %s", all)
	}
}

func drawObservation(t *rapid.T) Observation {
	o := Observation{ClusterName: "prod", Coordinator: "cp-1", Sources: []Source{good()}}
	for i := 1; i <= rapid.IntRange(1, 5).Draw(t, "nodes"); i++ {
		n := rapid.SampledFrom([]func(int) Node{up, dark, wiped, leaderless}).Draw(t, "kind")(i)
		if i == 1 && n.Unreachable != "" {
			n = wiped(1)
		}
		o.Nodes = append(o.Nodes, n)
	}
	return o
}

// Whatever is seen: no data dir changes before every reachable node was fenced
// (P11, I16), nothing starts before the old data was archived and the restored
// verified (P13, I1, I2), there is one point of no return and no way back
// promised beyond it; a quorate cluster is never restored without consent (I13);
// the epoch grows (I4).
func TestPlanOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObservation(t)
		p := Make(o)
		if p.Refused != "" {
			return
		}
		at := func(id string) int {
			return slices.IndexFunc(p.Steps, func(s Step) bool { return s.ID == id })
		}
		for _, n := range o.Nodes {
			if n.Unreachable == "" && (at(StepFence+"/"+n.Name) < 0 || at(StepFence+"/"+n.Name) > at(StepArchive)) {
				t.Fatalf("%s is not fenced before data moves: %+v", n.Name, p.Steps)
			}
			if n.Name != "cp-1" && at(StepJoin+"/"+n.Name) < at(StepStart) {
				t.Fatalf("%s joins before there is a member", n.Name)
			}
		}
		order := []string{StepVerify, StepStage, StepArchive, StepActivate, StepStart, StepControlPlane, StepDone}
		for i := 1; i < len(order); i++ {
			if at(order[i-1]) < 0 || at(order[i-1]) > at(order[i]) {
				t.Fatalf("%s after %s: %+v", order[i-1], order[i], p.Steps)
			}
		}
		returns := 0
		for i, s := range p.Steps {
			if s.NoUndo {
				returns++
			}
			if s.Undo != (i < at(StepStart)) {
				t.Fatalf("step %s can be undone: %t", s.ID, s.Undo)
			}
		}
		if returns != 1 {
			t.Fatalf("%d points of no return", returns)
		}
		quorate := slices.ContainsFunc(o.Nodes, func(n Node) bool { return n.Etcd.Linearizable })
		if quorate && !strings.Contains(risks(p), RiskRollback) {
			t.Fatal("I13: a living cluster without consent")
		}
		if p.Epoch <= 0 {
			t.Fatal("I4: the epoch does not grow")
		}
		if p.Consent(p.ID, "other", []string{RiskRollback, RiskUnreachableQuorum}) == nil {
			t.Fatal("I14: another cluster's name was accepted")
		}
		if err := p.Consent(p.ID, "prod", nil); (err == nil) != (len(p.Risks) == 0) {
			t.Fatalf("consent without risks: %v", err)
		}
	})
}

// I14: a consent is bound to what was shown.
func TestConsentIsForOnePlan(t *testing.T) {
	o := observed(leaderless(1), wiped(2), dark(3))
	shown := Make(o)
	o.Sources[0].SHA256 = strings.Repeat("cd", 32)
	now := Make(o)
	err := now.Consent(shown.ID, "prod", nil)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Kind != Unsafe || !strings.Contains(err.Error(), "has changed") {
		t.Fatalf("another snapshot was restored on an old consent: %v", err)
	}
	if err := now.Consent(now.ID, "prod", nil); err != nil {
		t.Fatal(err)
	}
}
