package ui

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
)

const (
	// expiresSoon is when a certificate is shown: kubeadm's live a year, and a
	// month is time to act without a night's work.
	expiresSoon = 30 * 24 * time.Hour
	// lowDisk: etcd stops at a full disk, and a recovery needs twice the database.
	lowDisk = 10
)

// Summarize concludes from one observation alone. agentDown is why the agent
// that should have made it could not, "" if it did.
func Summarize(ob *agentpb.Observation, agentDown string, now time.Time) View {
	v := View{Cluster: ob.GetClusterName(), SeenFrom: ob.GetCoordinator(), AgentDown: agentDown, At: now.UTC()}
	ms := membership(ob)
	for _, n := range ob.GetNodes() {
		v.Nodes = append(v.Nodes, nodeRow(n, ms))
		v.addNode(n, now)
	}
	for _, m := range ms.members {
		if !slices.ContainsFunc(ob.GetNodes(), func(n *agentpb.NodeState) bool { return isOf(m, n) }) {
			v.Nodes = append(v.Nodes, strayRow(m))
		}
	}
	v.leaveOutFormer(ms)
	slices.SortStableFunc(v.Nodes, func(a, b NodeView) int { return strings.Compare(a.Name, b.Name) })
	v.setLag()
	for _, n := range v.Nodes {
		if n.Voter {
			v.Voters++
			if n.Role != "" && n.Health != otherCluster && n.Held == "" {
				v.VotersUp++
			}
			if n.Ok && n.Role != learner {
				v.HealthyVoters++
			}
		}
	}
	v.judge(ms)
	v.Next = next(v)
	return v
}

// leaveOutFormer: a node that a quorum does not list and that does not answer
// may have been taken out on purpose. Nothing tells it from one that is broken
// and was removed, so it is shown, and counts for nothing. One that an open
// recovery waits for counts.
func (v *View) leaveOutFormer(ms members) {
	if !ms.quorum {
		return
	}
	for i, n := range v.Nodes {
		if !n.Unreachable || n.MemberID != "" || v.Recovery != nil && slices.Contains(v.Recovery.WaitingFor, n.Name) {
			continue
		}
		v.Nodes[i].Voter, v.Nodes[i].Former = false, true
		v.Notes = append(v.Notes, fmt.Sprintf("%s is no member and does not answer: it was taken out, or it is off and still to join", n.Name))
	}
}

// members is the membership as it is best known.
type members struct {
	members []*agentpb.Member
	// quorum: a quorum confirmed it, which proves that there is one.
	quorum bool
	// current cluster; an etcd of another is not part of it.
	clusterID string
}

// membership prefers a quorum's word over one member's, and that over what a
// data dir says of the past.
func membership(ob *agentpb.Observation) members {
	var best members
	rank := 0
	current := currentGeneration(ob).GetClusterId()
	take := func(r int, cluster string, ms []*agentpb.Member, quorum bool) {
		if cluster == current {
			r++
		}
		if len(ms) > 0 && r > rank {
			rank, best = r, members{ms, quorum, cluster}
		}
	}
	for _, n := range ob.GetNodes() {
		e, d := n.GetEtcd(), n.GetDataDir()
		switch {
		case e.GetAnswers() && e.GetMembersLinearizable():
			take(6, e.GetClusterId(), e.GetMembers(), true)
		case e.GetAnswers():
			take(4, e.GetClusterId(), e.GetMembers(), false)
		}
		if d.GetState() == "present" {
			take(2, d.GetClusterId(), d.GetMembers(), false)
		}
	}
	return best
}

func currentGeneration(ob *agentpb.Observation) *agentpb.Generation {
	var cur *agentpb.Generation
	for _, n := range ob.GetNodes() {
		for _, g := range n.GetLineage() {
			if cur == nil || g.GetEpoch() > cur.GetEpoch() {
				cur = g
			}
		}
	}
	return cur
}

func isOf(m *agentpb.Member, n *agentpb.NodeState) bool {
	return m.GetName() != "" && m.GetName() == n.GetName() || n.GetPeerUrl() != "" && slices.Contains(m.GetPeerUrls(), n.GetPeerUrl())
}

func (m members) of(n *agentpb.NodeState) *agentpb.Member {
	for _, x := range m.members {
		if isOf(x, n) {
			return x
		}
	}
	return nil
}

// addNode gathers what a node says beside its member.
func (v *View) addNode(n *agentpb.NodeState, now time.Time) {
	name := n.GetName()
	if n.GetUnreachable() != "" {
		return
	}
	for _, g := range n.GetLineage() {
		v.Epoch = max(v.Epoch, g.GetEpoch())
	}
	if ev := n.GetEtcd().GetVersion(); ev != "" {
		v.EtcdVersion = ev
	} else if v.EtcdVersion == "" {
		v.EtcdVersion = n.GetEtcdVersion()
	}
	if api := n.GetApiServer(); api != nil {
		v.APIServer.Asked++
		if api.GetReady() {
			v.APIServer.Ready++
		} else {
			v.APIServer.Down = append(v.APIServer.Down, APIDown{name, api.GetError()})
		}
	}
	soon := expiresSoon
	if life := time.Duration(n.GetSettings().GetLeafLife()) * time.Second; life > 0 {
		// Renewed when a third is left: at a quarter that does not work.
		soon = min(soon, life/4)
	}
	for _, c := range n.GetCertificates() {
		if at := c.GetNotAfter().AsTime(); at.Before(now.Add(soon)) {
			v.Certs = append(v.Certs, CertView{Node: name, Name: certName(c.GetPath()), NotAfter: at, Expired: at.Before(now)})
		}
	}
	slices.SortStableFunc(v.Certs, func(a, b CertView) int { return a.NotAfter.Compare(b.NotAfter) })
	if e := n.GetCertificatesError(); e != "" {
		v.Notes = append(v.Notes, fmt.Sprintf("certificates on %s could not be read: %s", name, e))
	}
	if d := n.GetDisk(); d.GetTotal() > 0 && d.GetFree() < d.GetTotal()/lowDisk {
		v.Disks = append(v.Disks, DiskView{name, d.GetFree(), d.GetTotal()})
	}
	if es := n.GetArchive(); len(es) > 0 {
		newest := slices.MaxFunc(es, func(a, b *agentpb.ArchiveEntry) int { return a.GetAt().AsTime().Compare(b.GetAt().AsTime()) })
		v.Archive = append(v.Archive, ArchiveView{Node: name, Entries: len(es), Newest: newest.GetAt().AsTime(), Path: filepath.Dir(newest.GetPath())})
	}
	if r := n.GetRecovery(); r != nil && r.GetState() != "done" && r.GetState() != "aborted" {
		v.Recovery = &RecoveryView{ID: r.GetId(), Coordinator: name, State: r.GetState(), Step: r.GetStep(), Error: r.GetError(), Started: r.GetStarted().AsTime(), WaitingFor: r.GetWaitingFor()}
	}
	if c := n.GetLineageConflict(); c != "" {
		v.Conflicts = append(v.Conflicts, fmt.Sprintf("%s: %s", name, c))
	}
}

// certName is as kubeadm calls it: etcd/peer, apiserver; the agents' own is
// told apart from them.
func certName(path string) string {
	name := strings.TrimSuffix(path, ".crt")
	if _, below, ok := strings.Cut(name, "/kubernetes/pki/"); ok {
		return below
	}
	return "ceo/" + filepath.Base(name)
}

// setLag compares with the furthest member of the same leader.
func (v *View) setLag() {
	var furthest uint64
	for _, n := range v.Nodes {
		if n.Role == leader || n.Role == follower && n.Ok {
			furthest = max(furthest, n.RaftIndex)
		}
	}
	for i, n := range v.Nodes {
		if n.Ok && n.RaftIndex > 0 {
			lag := uint64(0)
			if furthest > n.RaftIndex {
				lag = furthest - n.RaftIndex
			}
			v.Nodes[i].Lag = &lag
		}
	}
}

// judge gives the verdict and its reasons.
func (v *View) judge(ms members) {
	why := func(format string, args ...any) { v.Why = append(v.Why, fmt.Sprintf(format, args...)) }
	votes := 0
	for _, m := range ms.members {
		if !m.GetLearner() {
			votes++
		}
	}
	need := etcd.Quorum(cmp.Or(votes, v.Voters))
	quorum := ms.quorum || v.HealthyVoters > 0 && v.HealthyVoters >= need
	var silent []string
	for _, n := range v.Nodes {
		if !n.Ok && n.Voter {
			why("%s: %s", n.Name, n.Health)
		}
		if n.Kubelet != "" {
			why("the kubelet on %s is %s", n.Name, n.Kubelet)
			v.Notes = append(v.Notes, fmt.Sprintf("the kubelet on %s is %s", n.Name, n.Kubelet))
		}
		if n.Unreachable {
			silent = append(silent, n.Name)
		}
	}
	if v.APIServer.Asked > 0 && v.APIServer.Ready < v.APIServer.Asked {
		var down []string
		for _, d := range v.APIServer.Down {
			down = append(down, d.Node)
		}
		why("API server not ready on %s", strings.Join(down, ", "))
	}
	for _, c := range v.Certs {
		if c.Expired {
			why("certificate %s on %s has expired", c.Name, c.Node)
		}
	}
	if len(v.Conflicts) > 0 {
		why("lineages contradict each other")
	}
	if v.Recovery != nil {
		why("recovery %s is open", v.Recovery.ID)
	}
	if v.AgentDown != "" {
		why("the agent on %s does not answer", v.SeenFrom)
	}
	switch {
	case !quorum && v.Recovery != nil && v.Recovery.State != "failed":
		v.Verdict = Recovering
	case !quorum:
		v.Verdict = NoQuorum
		if len(silent) >= need {
			// A time-out is not a death (I23): they may run where nobody sees them.
			v.Notes = append(v.Notes, fmt.Sprintf("%s do not answer %s: whether their etcd runs cannot be told from here", strings.Join(silent, " and "), cmp.Or(v.SeenFrom, "this machine")))
		}
	case v.Recovery != nil && v.Recovery.State != "failed":
		v.Verdict = Recovering
	case len(v.Why) > 0:
		v.Verdict = Degraded
	default:
		v.Verdict = Healthy
	}
}
