package recovery

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/node"
)

// RefusalKind maps a refusal to an exit code.
type RefusalKind string

// The refusals.
const (
	// Unsafe: it could cost data that is alive.
	Unsafe RefusalKind = "unsafe"
	// Locked: another recovery runs.
	Locked RefusalKind = "locked"
	// Impossible: something is missing or broken.
	Impossible RefusalKind = "error"
)

// Risks that a person accepts by name, for one use each (I14).
const (
	RiskRollback          = "rollback"
	RiskUnreachableQuorum = "unreachable-quorum"
	RiskForeignSnapshot   = "foreign-snapshot"
	RiskTakeOver          = "take-over"
	RiskServiceAccountKey = "service-account-key"
)

var knownRisks = []string{RiskRollback, RiskUnreachableQuorum, RiskForeignSnapshot, RiskTakeOver, RiskServiceAccountKey}

// Risks are the names of all of them.
func Risks() []string { return slices.Clone(knownRisks) }

// Risk is something a person must accept by its name before the plan runs.
type Risk struct {
	Name string
	Text string
}

// Decision is what was concluded, with its reasons.
type Decision struct {
	Diagnosis string
	// Quorate: the cluster lives, so restoring takes its state back in time.
	Quorate bool
	Source  Source
	// Rejected sources, each with what it would lose or why it cannot be used.
	Rejected []string
	// Safety says why no second cluster can come alive, or which risk it is.
	Safety  string
	MayLose []string
	Risks   []Risk
	// Refused is why nothing is done, and what to do instead.
	Refused     string
	RefusedKind RefusalKind
	// Supersedes is an open recovery of this node that only waits for dark nodes;
	// the new one waits for them in its place.
	Supersedes string
	// TakesOver is a recovery that holds reachable nodes and whose coordinator
	// does not answer.
	TakesOver string
	// Epoch that the recovery makes.
	Epoch int64
	// Served is the highest revision that any reachable node saw served: the
	// restored cluster goes on beyond it (I15).
	Served int64
}

// Decide answers from one observation alone.
func Decide(o Observation) Decision {
	d := Decision{}
	coord, ok := o.node(o.Coordinator)
	if !ok || coord.Unreachable != "" {
		return d.refuse(Impossible, "the recovery node %s was not observed: is its agent running? `crictl ps --name ceo-agent` on it", o.Coordinator)
	}
	voters := o.voters()
	d.Served = o.served()
	lin, conflict := o.lineage()
	if cur, ok := lin.Current(); ok {
		d.Epoch = cur.Epoch + 1
	} else {
		d.Epoch = 1
	}
	d = d.diagnose(o, voters)
	if conflict != "" {
		return d.refuse(Unsafe, "%s", conflict)
	}
	for _, n := range o.Nodes {
		if n.Unreachable != "" {
			continue
		}
		if n.OpenRecovery != "" && n.OnlyJoining && n.Name == o.Coordinator {
			// What it waits for is in the new plan as well.
			d.Supersedes = n.OpenRecovery
			continue
		}
		if n.OpenRecovery != "" {
			return d.refuse(Locked, "recovery %s is open, coordinated by %s: watch it with `ceo recover --resume` there, end it with `ceo recover --abort`", n.OpenRecovery, n.Name)
		}
		if strings.HasPrefix(n.Hold, HoldPrefix) && n.Hold != HoldPrefix+d.Supersedes {
			// Its coordinator is not among those that answer: dead, or cut off and
			// at work. Only a person can tell (I23).
			d.TakesOver = strings.TrimPrefix(n.Hold, HoldPrefix)
		}
	}
	d = d.chooseSource(o)
	if d.Refused != "" {
		return d
	}
	if need := uint64(max(0, d.Source.Size)) * SpaceFactor; coord.DiskFree < need {
		return d.refuse(Impossible, "%s has %s free for its data dir and the restore needs %s (P27: %d times the snapshot): free space there, or run this on another control-plane node", coord.Name, Bytes(coord.DiskFree), Bytes(need), SpaceFactor)
	}
	if v := versionProblem(coord.EtcdVersion, d.Source.StorageVersion); v != "" {
		return d.refuse(Impossible, "%s", v)
	}
	return d.fence(o, voters)
}

// HoldPrefix begins the id of a hold that a recovery placed.
const HoldPrefix = "recovery/"

// SpaceFactor is how many times the snapshot's size must be free: the restored
// database, and room for etcd to work (P27).
const SpaceFactor = 2

func (d Decision) refuse(k RefusalKind, format string, args ...any) Decision {
	d.RefusedKind, d.Refused = k, fmt.Sprintf(format, args...)
	return d
}

// diagnose says in words what is broken.
func (d Decision) diagnose(o Observation, voters []Member) Decision {
	healthy, quorate := 0, false
	for _, n := range o.Nodes {
		if n.Unreachable == "" && n.Etcd.Answers && n.Etcd.HasLeader && !n.Etcd.Learner {
			healthy++
			quorate = quorate || n.Etcd.Linearizable
		}
	}
	d.Quorate = quorate
	if quorate {
		d.Diagnosis = fmt.Sprintf("the cluster lives: %d of %d voters answer and have a leader", healthy, len(voters))
		return d
	}
	var parts []string
	for _, n := range o.Nodes {
		switch {
		case n.Unreachable != "":
			parts = append(parts, n.Name+" unreachable")
		case n.Data.State == "none":
			parts = append(parts, n.Name+" lost its data")
		case n.Data.State == "damaged":
			parts = append(parts, n.Name+"'s data is damaged")
		case n.Etcd.Answers:
			parts = append(parts, n.Name+" answers but has no leader")
		default:
			parts = append(parts, n.Name+"'s etcd does not answer")
		}
	}
	d.Diagnosis = fmt.Sprintf("quorum lost: %d of %d voters have a leader, %d are needed (%s)", healthy, len(voters), etcd.Quorum(len(voters)), strings.Join(parts, ", "))
	return d
}

// chooseSource takes the usable source with the highest revision of its own
// MVCC data (I11, P15), never by file time.
func (d Decision) chooseSource(o Observation) Decision {
	if len(o.Sources) == 0 {
		return d.refuse(Impossible, "no snapshot to restore from: none lies in the recovery node's backup folder; name one with --from FILE")
	}
	usable := slices.Clone(o.Sources)
	sort.SliceStable(usable, func(i, j int) bool { return usable[i].Revision > usable[j].Revision })
	chosen := -1
	for i, s := range usable {
		if s.Problem == "" && chosen < 0 {
			chosen = i
		}
	}
	if chosen < 0 {
		s := usable[0]
		hint := "take another snapshot"
		if s.NeedsFlag != "" {
			hint = "if you know where it comes from, accept it with " + s.NeedsFlag
		}
		return d.refuse(Impossible, "%s cannot be used: %s; nothing was changed; %s", s.Label, s.Problem, hint)
	}
	d.Source = usable[chosen]
	for i, s := range usable {
		switch {
		case i == chosen:
		case s.Problem != "":
			d.Rejected = append(d.Rejected, fmt.Sprintf("%s: %s", s.Label, s.Problem))
		default:
			d.Rejected = append(d.Rejected, fmt.Sprintf("%s: %d revisions older", s.Label, d.Source.Revision-s.Revision))
		}
	}
	for _, n := range o.Nodes {
		if rev := max(n.Data.Revision, n.Etcd.Revision); n.Data.State == "present" && rev > d.Source.Revision {
			d.MayLose = append(d.MayLose, fmt.Sprintf("%d revisions that %s's own data holds beyond the snapshot (it is set aside, not deleted)", rev-d.Source.Revision, n.Name))
		}
	}
	if d.Served > d.Source.Revision {
		d.MayLose = append(d.MayLose, fmt.Sprintf("everything written after the snapshot's revision %d; revision %d was seen served", d.Source.Revision, d.Served))
	} else {
		d.MayLose = append(d.MayLose, fmt.Sprintf("everything written after the snapshot's revision %d", d.Source.Revision))
	}
	if foreign := d.foreign(o); foreign != "" {
		d.Risks = append(d.Risks, Risk{RiskForeignSnapshot, foreign})
	}
	if d.Source.OtherServiceAccountKey != "" {
		d.Risks = append(d.Risks, Risk{RiskServiceAccountKey, d.Source.OtherServiceAccountKey})
	}
	return d
}

// foreign: a snapshot that knows none of the nodes is another cluster's, or
// one of this cluster's former life; only a person can tell.
func (d Decision) foreign(o Observation) string {
	if d.Source.Foreign != "" {
		return d.Source.Foreign
	}
	if len(d.Source.MemberNames) == 0 {
		return ""
	}
	for _, n := range o.Nodes {
		if slices.Contains(d.Source.MemberNames, n.Name) {
			return ""
		}
	}
	return fmt.Sprintf("the snapshot was taken from members %s, and none of them is a node of this cluster", strings.Join(d.Source.MemberNames, ", "))
}

// fence says what keeps the old members from becoming a second cluster (P11).
func (d Decision) fence(o Observation, voters []Member) Decision {
	var dark []string
	unreachable := 0
	for _, v := range voters {
		n, ok := o.nodeOfMember(v)
		if !ok || n.Unreachable != "" {
			unreachable++
			name := v.Name
			if ok {
				name = n.Name
			}
			dark = append(dark, name)
		}
	}
	slices.Sort(dark)
	q := etcd.Quorum(len(voters))
	switch {
	case unreachable == 0:
		d.Safety = "every voter's node is reachable and is stopped before the data changes"
	case unreachable < q:
		d.Safety = fmt.Sprintf("%s alone (%d of %d voters) cannot elect a leader", strings.Join(dark, ", "), unreachable, len(voters))
	default:
		d.Safety = fmt.Sprintf("%s (%d of %d voters) could elect a leader if they run unseen", strings.Join(dark, ", "), unreachable, len(voters))
		d.Risks = append(d.Risks, Risk{RiskUnreachableQuorum, fmt.Sprintf("%s cannot be reached and would be a quorum if they run: make sure that they are off or cut off from every client; when they come back, they set their data aside", strings.Join(dark, " and "))})
	}
	if d.TakesOver != "" {
		d.Risks = append(d.Risks, Risk{RiskTakeOver, fmt.Sprintf("recovery %s holds nodes here and its coordinator does not answer: make sure that it is off for good, as two recoveries at once make two clusters; better is to bring it back and resume there", d.TakesOver)})
	}
	if d.Quorate {
		d.Risks = append(d.Risks, Risk{RiskRollback, "the cluster lives and its quorum is whole: this takes its whole state back to the snapshot, with the control plane down meanwhile; a single lost node does not need it"})
	}
	return d
}

func (o Observation) node(name string) (Node, bool) {
	for _, n := range o.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

func (o Observation) nodeOfMember(m Member) (Node, bool) {
	for _, n := range o.Nodes {
		if n.PeerURL != "" && n.PeerURL == m.PeerURL || n.Name == m.Name && m.Name != "" {
			return n, true
		}
	}
	return Node{}, false
}

// voters is the membership as it is best known: from a quorum, else from the
// newest cluster's data or etcd, else every node that is known at all.
func (o Observation) voters() []Member {
	var best []Member
	rank := 0
	lin, _ := o.lineage()
	cur, _ := lin.Current()
	take := func(r int, ms []Member) {
		var vs []Member
		for _, m := range ms {
			if !m.Learner {
				vs = append(vs, m)
			}
		}
		if len(vs) > 0 && (r > rank || r == rank && len(vs) > len(best)) {
			rank, best = r, vs
		}
	}
	for _, n := range o.Nodes {
		ours := func(id string) int {
			if id == cur.ClusterID {
				return 1
			}
			return 0
		}
		if n.Etcd.Answers && n.Etcd.Linearizable {
			take(6+ours(n.Etcd.ClusterID), n.Etcd.Members)
		} else if n.Etcd.Answers {
			take(4+ours(n.Etcd.ClusterID), n.Etcd.Members)
		}
		if n.Data.State == "present" {
			take(2+ours(n.Data.ClusterID), n.Data.Members)
		}
	}
	if len(best) > 0 {
		return best
	}
	for _, n := range o.Nodes {
		best = append(best, Member{Name: n.Name, PeerURL: n.PeerURL})
	}
	return best
}

func (o Observation) served() int64 {
	var s int64
	for _, n := range o.Nodes {
		s = max(s, n.Served, n.Etcd.Revision, n.Data.Revision)
	}
	return s
}

func (o Observation) lineage() (node.Lineage, string) {
	var l node.Lineage
	for _, n := range o.Nodes {
		m, _, err := l.Merge(n.Lineage)
		if err != nil {
			return l, fmt.Sprintf("%s: %v", n.Name, err)
		}
		l = m
	}
	return l, ""
}
