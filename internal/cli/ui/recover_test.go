package ui

import (
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/datadir/backend"
	"clusteretcd.io/ceo/internal/snapshot"
)

func planned() *agentpb.Plan {
	return &agentpb.Plan{
		Id: "5f3a-c21e", ClusterName: "prod",
		Diagnosis: "quorum lost: 0 of 3 voters have a leader, 2 are needed (cp-1 lost its data, cp-2 unreachable, cp-3 answers but has no leader)",
		Source:    "/var/lib/etcd-backup/snapshot.db, rev 918221, 40211 keys, 393 MiB, sha256 1f0c5e5b8a66",
		Rejected:  []string{"/var/lib/etcd-backup/old.db: 113 revisions older", "/var/lib/etcd-backup/cut.db: the snapshot is cut short"},
		Safety:    "cp-2 alone (1 of 3 voters) cannot elect a leader",
		Steps: []*agentpb.Step{
			{Id: "verify", Node: "cp-1", Text: "read the snapshot whole and verify it (revision 918221, 40211 keys, 393 MiB)", Undoable: true},
			{Id: "fence/cp-1", Node: "cp-1", Text: "take kube-apiserver, controller-manager and scheduler out of service, hold etcd", Undoable: true},
			{Id: "fence/cp-3", Node: "cp-3", Text: "take kube-apiserver, controller-manager and scheduler out of service, hold etcd", Undoable: true},
			{Id: "stage", Node: "cp-1", Text: "restore the snapshot beside the data dir and verify it", Undoable: true},
			{Id: "archive", Node: "cp-1", Text: "set the present data dir aside", Undoable: true},
			{Id: "activate", Node: "cp-1", Text: "put the restored data in place, epoch 1", Undoable: true},
			{Id: "start", Node: "cp-1", Text: "start etcd as a new one-member cluster", PointOfNoReturn: true},
			{Id: "leases", Node: "cp-1", Text: "delete the leases of API servers that are gone"},
			{Id: "control-plane", Node: "cp-1", Text: "start kube-apiserver, controller-manager and scheduler, wait until the API answers"},
			{Id: "announce/cp-3", Node: "cp-3", Text: "tell it of epoch 1 and release its etcd: the old data is set aside"},
			{Id: "join/cp-3", Node: "cp-3", Text: "join as learner, catch up, promote; start its control plane"},
			{Id: "join/cp-2", Node: "cp-2", Text: "when it comes back: set its old data aside, join, promote; start its control plane"},
			{Id: "done", Node: "cp-1", Text: "check that all 3 voters are healthy"},
		},
		MayLose: []string{"113 revisions that cp-3's own data holds beyond the snapshot (it is set aside, not deleted)", "everything written after the snapshot's revision 918221; revision 918334 was seen served"},
	}
}

func risky() *agentpb.Plan {
	p := planned()
	p.Safety = "cp-2, cp-3 (2 of 3 voters) could elect a leader if they run unseen"
	p.Risks = []*agentpb.Risk{
		{Name: "unreachable-quorum", Text: "cp-2 and cp-3 cannot be reached and would be a quorum if they run: make sure that they are off or cut off from every client; when they come back, they set their data aside"},
		{Name: "rollback", Text: "the cluster lives and its quorum is whole: this takes its whole state back to the snapshot, with the control plane down meanwhile; a single lost node does not need it"},
	}
	return p
}

func TestPlan(t *testing.T) {
	for name, p := range map[string]*agentpb.Plan{
		"plan": planned(), "plan-risks": risky(),
		"plan-refused": {
			ClusterName: "prod", Diagnosis: "quorum lost: 1 of 3 voters have a leader, 2 are needed (cp-2 unreachable, cp-3 lost its data)", RefusedKind: "locked",
			Refused: "recovery 20261122t140522z-5f3a is open, coordinated by cp-1: watch it with `ceo recover --resume` there, end it with `ceo recover --abort`",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := PlanOf(p)
			golden(t, name, v.Text(Style{}))
			golden(t, name+".json", asJSON(t, v))
		})
	}
	if d := PlanOf(planned()).Dark(); len(d) != 1 || !d["cp-2"] {
		t.Errorf("dark %v, want cp-2 alone", d)
	}
}

func events() []*agentpb.RecoveryEvent {
	running := &agentpb.Recovery{Id: "20261122t140522z-5f3a", State: "running"}
	joins := &agentpb.Recovery{Id: "20261122t140522z-5f3a", State: "joining", WaitingFor: []string{"cp-2", "cp-3"}}
	ended := &agentpb.Recovery{Id: "20261122t140522z-5f3a", State: "done"}
	ev := func(after time.Duration, kind, step, node, text string, r *agentpb.Recovery) *agentpb.RecoveryEvent {
		return &agentpb.RecoveryEvent{At: at(after), Kind: kind, Step: step, Node: node, Text: text, Recovery: r}
	}
	const ms = time.Millisecond
	return []*agentpb.RecoveryEvent{
		ev(300*ms, "open", "", "", "", running),
		ev(310*ms, "begin", "verify", "cp-1", "read the snapshot whole and verify it", running),
		ev(520*ms, "done", "verify", "cp-1", "", running),
		ev(530*ms, "begin", "fence/cp-1", "cp-1", "take kube-apiserver out of service, hold etcd", running),
		ev(1400*ms, "done", "fence/cp-1", "cp-1", "", running),
		ev(1500*ms, "resume", "", "", "the agent started again", running),
		ev(1600*ms, "begin", "start", "cp-1", "start etcd as a new one-member cluster", running),
		ev(2500*ms, "done", "start", "cp-1", "", running),
		ev(2600*ms, "begin", "control-plane", "cp-1", "start kube-apiserver", running),
		ev(7100*ms, "done", "control-plane", "cp-1", "", joins),
		ev(7200*ms, "note", "", "cp-3", "wait: cp-3 has no member, and does not wait to be added yet", joins),
		ev(7500*ms, "begin", "join/cp-3", "cp-3", "cp-3 waits to be added", joins),
		ev(12100*ms, "done", "join/cp-3", "cp-3", "join as learner, catch up, promote", joins),
		ev(60*time.Second, "let-go", "", "cp-2", "asked for by a person", joins),
		ev(60500*ms, "begin", "done", "cp-1", "check that all 3 voters are healthy", joins),
		ev(61*time.Second, "failed", "done", "", "done on cp-1: waiting for every voter to be healthy: 1 of 2", joins),
		ev(70*time.Second, "resume", "", "", "asked for by a person", joins),
		ev(71*time.Second, "done", "done", "cp-1", "", ended),
		ev(71*time.Second, "end", "", "", "done", ended),
	}
}

func TestProgress(t *testing.T) {
	p := NewProgress(now)
	var text strings.Builder
	var all []Event
	for _, e := range events() {
		ev := p.Add(e)
		all = append(all, ev)
		text.WriteString(p.Line(ev, Style{}))
	}
	text.WriteString(TimelineText(p.Timeline()))
	golden(t, "recovery-stream", text.String())
	golden(t, "recovery-stream.json", asJSON(t, all)+asJSON(t, Outcome{ID: "20261122t140522z-5f3a", State: "done", Timeline: p.Timeline()}))
}

func TestSnapshotText(t *testing.T) {
	i := snapshot.Info{
		Path: "/var/lib/etcd-backup/snapshot.db", Size: 412_000_032, HashPresent: true, SHA256: strings.Repeat("1f0c5e5b", 8), Revision: 918221, CompactRevision: 900000,
		StorageVersion: "3.7", Members: []backend.Member{{Name: "cp-1"}, {Name: "cp-2"}, {Name: "cp-3"}}, TotalKeys: 58222, LiveKeys: 40211, Leases: 17, InUse: 251_320_000,
	}
	golden(t, "snapshot-verified", Snapshot(i, true, Style{}))
	golden(t, "snapshot-inspected", Snapshot(i, false, Style{}))
	i.HashPresent, i.StorageVersion, i.Members = false, "", nil
	golden(t, "snapshot-no-hash", Snapshot(i, true, Style{}))
}
