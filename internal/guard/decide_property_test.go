package guard

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/node"
)

// situations draws any input at all, consistent or not; ids come from a small
// set so that they meet.
func situations(t *rapid.T) Input {
	clusters := rapid.SampledFrom([]string{"", past, now, alien})
	anyMember := rapid.Custom(func(t *rapid.T) Member {
		m := member(rapid.SampledFrom([]string{"11", "19", "22", "33"}).Draw(t, "id"),
			rapid.SampledFrom([]string{"", "cp-1", "cp-2", "cp-3"}).Draw(t, "name"),
			rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "url"))
		m.IsLearner = rapid.Bool().Draw(t, "learner")
		return m
	})
	in := Input{
		Local: Local{
			State:      rapid.SampledFrom([]LocalState{LocalNone, LocalPresent, LocalPresent, LocalDamaged, LocalUnreadable}).Draw(t, "state"),
			ClusterID:  clusters.Draw(t, "local cluster"),
			MemberID:   rapid.SampledFrom([]string{"", "11", "22", "19"}).Draw(t, "local id"),
			Name:       rapid.SampledFrom([]string{"", "cp-1", "cp-2"}).Draw(t, "local name"),
			EpochKnown: rapid.Bool().Draw(t, "local epoch known"),
			Epoch:      rapid.Int64Range(0, 2).Draw(t, "local epoch"),
			InUse:      rapid.IntRange(0, 9).Draw(t, "in use") == 0,
		},
		Peers: Peers{
			Reachable:    rapid.Bool().Draw(t, "reachable"),
			ClusterID:    clusters.Draw(t, "peers' cluster"),
			EpochKnown:   rapid.Bool().Draw(t, "peers' epoch known"),
			Epoch:        rapid.Int64Range(0, 2).Draw(t, "peers' epoch"),
			Members:      rapid.SliceOfN(anyMember, 0, 4).Draw(t, "members"),
			Linearizable: rapid.Bool().Draw(t, "linearizable"),
			Conflict:     rapid.SampledFrom([]string{"", "", "", "two tales"}).Draw(t, "conflict"),
		},
		Recorded: Recorded{
			Known:     rapid.Bool().Draw(t, "recorded"),
			Epoch:     rapid.Int64Range(0, 2).Draw(t, "recorded epoch"),
			ClusterID: clusters.Draw(t, "recorded cluster"),
		},
		Intent: node.Intent{
			BootstrapOnce:  rapid.Bool().Draw(t, "once"),
			RestorePending: rapid.SampledFrom([]string{"", "", "rec-1"}).Draw(t, "pending"),
		},
		Self:  cp1,
		Token: "random",
	}
	if rapid.IntRange(0, 4).Draw(t, "hold") == 0 {
		in.Hold = &node.Hold{ID: "rec-1"}
	}
	return in
}

// No input leads to a start on foreign, removed, damaged or older-epoch data,
// or under a hold (I2, I3, I4, I5, P2, P12, P25).
func TestNeverStartsWhatMustNotServe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := situations(t)
		d := Decide(in)
		newest := newestEpoch(in)
		if d.Reason == "" || d.Answer == "" {
			t.Fatalf("no answer or no reason: %+v", d)
		}
		if (d.Answer == Wait || d.Answer == Refuse || d.Answer == Hold) && d.WaitsFor == "" {
			t.Fatalf("waits for nothing: %+v", d)
		}
		if d.Archive && (d.Answer == Start || d.Answer == Bootstrap) {
			t.Fatalf("sets aside what it starts: %+v", d)
		}
		if d.Archive && in.Local.State == LocalNone {
			t.Fatalf("sets aside nothing: %+v", d)
		}
		if in.Hold != nil && (d.Answer != Hold || d.Archive) {
			t.Fatalf("did not hold: %+v", d)
		}
		if in.Intent.RestorePending != "" && (d.Archive || d.Answer != Hold && d.Answer != Wait) {
			t.Fatalf("I2: touched a data dir that is being restored: %+v", d)
		}
		if in.Local.InUse && (d.Archive || d.Runs()) {
			t.Fatalf("P10: touched a data dir that is in use: %+v", d)
		}
		listed, unstarted := standing(in)
		vouched := sameCluster(in) && in.Peers.Linearizable && listed
		switch d.Answer {
		case Start:
			switch {
			case in.Local.State != LocalPresent:
				t.Fatalf("started on %s: %s", in.Local.State, d.Reason)
			case in.Local.EpochKnown && in.Local.Epoch < newest:
				t.Fatalf("I4: started epoch %d, newest is %d: %s", in.Local.Epoch, newest, d.Reason)
			case anythingRecorded(in) && !in.Local.EpochKnown:
				t.Fatalf("I5: started foreign data: %s", d.Reason)
			case sameCluster(in) && in.Peers.Linearizable && !listed:
				t.Fatalf("P2: started a removed member: %s", d.Reason)
			case !anythingRecorded(in) && !vouched:
				t.Fatalf("P12: started on nobody's word: %s", d.Reason)
			case in.Local.Name == "cp-2":
				t.Fatalf("I5: started another member's data: %s", d.Reason)
			}
		case Join:
			if !unstarted || !in.Peers.Reachable || !in.Peers.Linearizable {
				t.Fatalf("P2: joined without being added by a quorum: %s", d.Reason)
			}
			if in.Peers.EpochKnown && in.Peers.Epoch < newest {
				t.Fatalf("I4: joined a cluster of the past: %s", d.Reason)
			}
			if in.Local.State != LocalNone && !d.Archive {
				t.Fatalf("joined over data: %s", d.Reason)
			}
		case Bootstrap:
			if in.Local.State != LocalNone || in.Peers.Reachable || in.Recorded.Known || !in.Intent.BootstrapOnce {
				t.Fatalf("P25: bootstrapped: %s", d.Reason)
			}
		case Wait, Refuse, Hold:
		}
	})
}

// Nothing is set aside when nobody answers and nothing newer is recorded (I1,
// I23), and a list that may be stale never means removed.
func TestNeverArchivesOnSuspicion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := situations(t)
		d := Decide(in)
		older := in.Local.EpochKnown && in.Local.Epoch < newestEpoch(in)
		confirmed := in.Peers.Reachable && in.Peers.Linearizable
		if d.Archive && !older && !confirmed {
			t.Fatalf("set aside on suspicion: %s", d.ArchiveReason)
		}
	})
}

func newestEpoch(in Input) int64 {
	newest := int64(-1)
	if in.Recorded.Known {
		newest = in.Recorded.Epoch
	}
	if in.Local.EpochKnown && in.Local.State != LocalNone {
		newest = max(newest, in.Local.Epoch)
	}
	if in.Peers.EpochKnown && in.Peers.Reachable {
		newest = max(newest, in.Peers.Epoch)
	}
	return newest
}

func anythingRecorded(in Input) bool {
	return in.Recorded.Known || in.Local.EpochKnown || in.Peers.EpochKnown && in.Peers.Reachable
}

func sameCluster(in Input) bool {
	past := in.Peers.EpochKnown && in.Peers.Epoch < newestEpoch(in)
	return in.Peers.Reachable && in.Peers.ClusterID == in.Local.ClusterID && !past
}

func standing(in Input) (listed, unstarted bool) {
	for _, m := range in.Peers.Members {
		listed = listed || m.ID == in.Local.MemberID
		unstarted = unstarted || !m.Started && slices.Contains(m.PeerURLs, in.Self.PeerURL)
	}
	return listed, unstarted
}
