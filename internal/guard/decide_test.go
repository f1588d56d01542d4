package guard

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/node"
)

var cp1 = Self{Name: "cp-1", PeerURL: "https://10.0.0.1:2380"}

// The clusters of the tables: past is epoch 0, now is epoch 1, alien is in no
// lineage.
const past, now, alien = "aaa0", "bbb1", "ccc9"

func member(id, name string, n string) Member {
	return Member{ID: id, Name: name, PeerURLs: []string{"https://10.0.0." + n + ":2380"}, Started: name != ""}
}

var (
	me       = member("11", "cp-1", "1")
	added    = member("19", "", "1")
	two      = member("22", "cp-2", "2")
	three    = member("33", "cp-3", "3")
	recorded = Recorded{Known: true, Epoch: 1, ClusterID: now}
)

func peersOf(cluster string, members ...Member) Peers {
	p := Peers{Reachable: true, Linearizable: true, ClusterID: cluster, Members: members}
	switch cluster {
	case past:
		p.EpochKnown = true
	case now:
		p.EpochKnown, p.Epoch = true, 1
	}
	return p
}

// unknownEpoch forgets the lineage's word on the peers, as with no node.json.
func unknownEpoch(p Peers) Peers { p.EpochKnown, p.Epoch = false, 0; return p }

func stale(p Peers) Peers { p.Linearizable = false; return p }

func none() Local { return Local{State: LocalNone} }

func data(cluster string) Local {
	l := Local{State: LocalPresent, ClusterID: cluster, MemberID: me.ID, Name: me.Name, PeerURLs: me.PeerURLs}
	switch cluster {
	case past:
		l.EpochKnown = true
	case now:
		l.EpochKnown, l.Epoch = true, 1
	}
	return l
}

func unrecorded(cluster string) Local { l := data(cluster); l.EpochKnown, l.Epoch = false, 0; return l }

func broken(l Local) Local { l.State, l.Why = LocalDamaged, "bad magic in the WAL"; return l }

func by(l Local, m Member) Local { l.MemberID, l.Name, l.PeerURLs = m.ID, m.Name, m.PeerURLs; return l }

func TestDecide(t *testing.T) {
	const archive = true
	once := node.Intent{BootstrapOnce: true}
	hold := &node.Hold{ID: "rec-1", Reason: "recovery"}
	for _, row := range []struct {
		name     string
		local    Local
		peers    Peers
		recorded Recorded
		intent   node.Intent
		hold     *node.Hold
		flags    string
		answer   Answer
		archive  bool
		needs    Need
		says     string // in the reason
	}{
		// The design's table, in its order.
		{name: "none, unreachable (P25)", local: none(), recorded: recorded, answer: Wait, says: "never becomes a new cluster"},
		{name: "none, unreachable, nothing recorded (P25)", local: none(), answer: Wait, says: "never becomes a new cluster"},
		{name: "none, unreachable, one-time permission", local: none(), intent: once, answer: Bootstrap},
		{name: "none, added and unstarted", local: none(), peers: peersOf(now, two, added), recorded: recorded, answer: Join},
		{name: "none, a started member: wiped disk (P2, I5)", local: none(), peers: peersOf(now, me, two), recorded: recorded, answer: Refuse, needs: NeedReplace, says: "member remove 11"},
		{name: "other cluster, reachable, not added", local: data(alien), peers: peersOf(now, two), recorded: recorded, answer: Wait, archive: archive, needs: NeedAdd, says: "foreign"},
		{name: "other cluster, reachable, added", local: data(alien), peers: peersOf(now, two, added), recorded: recorded, answer: Join, archive: archive},
		{name: "older epoch, reachable, not added (I4)", local: data(past), peers: peersOf(now, two), recorded: recorded, answer: Wait, archive: archive, needs: NeedAdd, says: "superseded"},
		{name: "older epoch, reachable, added (I4)", local: data(past), peers: peersOf(now, two, added), recorded: recorded, answer: Join, archive: archive},
		{name: "same cluster, listed", local: data(now), peers: peersOf(now, me, two, three), recorded: recorded, answer: Start},
		{name: "same cluster, removed", local: data(now), peers: peersOf(now, two, three), recorded: recorded, answer: Wait, archive: archive, needs: NeedAdd, says: "removed"},
		{name: "mine, current, unreachable: power comes back", local: data(now), recorded: recorded, answer: Start},
		{name: "mine, newer epoch recorded, unreachable (P11, P12)", local: data(past), recorded: recorded, answer: Wait, archive: archive, needs: NeedAdd},
		{name: "damaged, reachable", local: broken(data(now)), peers: peersOf(now, me, two, three), recorded: recorded, answer: Wait, archive: archive, needs: NeedReplace, says: "bad magic"},

		// What wins over every fact about the data.
		{name: "hold wins", local: data(now), peers: peersOf(now, me, two), recorded: recorded, hold: hold, answer: Hold, says: "rec-1"},
		{name: "hold wins over a bootstrap", local: none(), intent: once, hold: hold, answer: Hold},
		{name: "hold wins over an archive", local: data(past), peers: peersOf(now, two), recorded: recorded, hold: hold, answer: Hold},
		{name: "restore pending (I2)", local: data(now), peers: peersOf(now, me, two), recorded: recorded, intent: node.Intent{RestorePending: "rec-1"}, answer: Wait, says: "rec-1"},
		{name: "flags that make the decision void", local: data(now), recorded: recorded, flags: "--force-new-cluster is set", answer: Refuse, says: "--force-new-cluster"},

		{name: "in use by another etcd (P10)", local: inUse(data(now)), peers: peersOf(now, me, two), recorded: recorded, answer: Wait, says: "still runs"},
		{name: "in use and of the past (P10)", local: inUse(data(past)), peers: peersOf(now, two), recorded: recorded, answer: Wait, says: "still runs"},
		{name: "unreadable (I23)", local: Local{State: LocalUnreadable, Why: "input/output error"}, peers: peersOf(now, two), recorded: recorded, answer: Refuse, says: "input/output"},

		// An empty data dir.
		{name: "none, permission, but a cluster is recorded", local: none(), recorded: recorded, intent: once, answer: Wait, says: "second cluster"},
		{name: "none, permission, but peers answer", local: none(), peers: peersOf(alien, two), intent: once, answer: Wait, needs: NeedAdd},
		{name: "none, reachable, absent", local: none(), peers: peersOf(now, two, three), recorded: recorded, answer: Wait, needs: NeedAdd, says: "--learner"},
		{name: "none, added, list may be stale (P2)", local: none(), peers: stale(peersOf(now, two, added)), recorded: recorded, answer: Wait, says: "old tale"},
		{name: "none, added, but the old member is still listed", local: none(), peers: peersOf(now, me, two, added), recorded: recorded, answer: Refuse, needs: NeedReplace, says: "twice"},
		{name: "none, added under my URL while another host of my name is listed (P20)", local: none(), peers: peersOf(now, member("77", "cp-1", "7"), two, added), recorded: recorded, answer: Refuse, needs: NeedReplace},
		{name: "none, added to a cluster of the past (I4)", local: none(), peers: peersOf(past, two, added), recorded: recorded, answer: Wait, says: "past"},
		{name: "none, added to a cluster nobody recorded", local: none(), peers: peersOf(alien, two, added), answer: Join},
		{name: "none, a wiped learner", local: none(), peers: peersOf(now, two, learner(me)), recorded: recorded, answer: Refuse, needs: NeedReplace},

		// Data of another cluster.
		{name: "foreign, unreachable: unknown is not dead (I5, P12)", local: data(alien), recorded: recorded, answer: Wait, says: "foreign"},
		{name: "foreign, peers without quorum", local: data(alien), peers: stale(peersOf(now, two, added)), recorded: recorded, answer: Wait},
		{name: "foreign to me and to the peers, who are unknown, too", local: data(alien), peers: peersOf("ddd8", two), recorded: recorded, answer: Wait},
		{name: "foreign, and the peers run it (I5)", local: data(alien), peers: peersOf(alien, me, two), recorded: recorded, answer: Refuse, says: "ceo node install"},
		{name: "current, the peers' cluster is unknown (P12)", local: data(now), peers: peersOf(alien, two), recorded: recorded, answer: Wait, says: "cannot be told"},
		{name: "current, an unknown cluster has added me", local: data(now), peers: peersOf(alien, two, added), recorded: recorded, answer: Join, archive: archive},
		{name: "current, only peers of the past answer: a recovered node restarts", local: data(now), peers: peersOf(past, me, two, three), recorded: recorded, answer: Start},
		{name: "older, peers of the same past answer (I4)", local: data(past), peers: peersOf(past, me, two, three), recorded: recorded, answer: Wait, archive: archive, needs: NeedAdd},
		{name: "peers contradict each other", local: data(now), peers: Peers{Reachable: true, Conflict: "cp-2 is of cluster x, cp-3 of cluster y"}, recorded: recorded, answer: Wait, says: "cluster x"},
		{name: "two recoveries of one epoch (I3)", local: data(now), recorded: Recorded{Known: true, Epoch: 1, ClusterID: "eee7"}, answer: Wait, says: "apart from each other"},

		// Data of the cluster.
		{name: "listed, list may be stale", local: data(now), peers: stale(peersOf(now, me, two)), recorded: recorded, answer: Start},
		{name: "not listed, list may be stale", local: data(now), peers: stale(peersOf(now, two, three)), recorded: recorded, answer: Wait, says: "old tale"},
		{name: "removed and added again", local: data(now), peers: peersOf(now, two, added), recorded: recorded, answer: Join, archive: archive},
		{name: "joined, not yet published", local: by(data(now), added), peers: peersOf(now, two, added), recorded: recorded, answer: Start},
		{name: "address changed (P20)", local: data(now), peers: peersOf(now, member("11", "cp-1", "7"), two), recorded: recorded, answer: Start},
		{name: "disks swapped (I5)", local: by(data(now), two), peers: peersOf(now, me, two), recorded: recorded, answer: Refuse, says: "swapped"},
		{name: "disks swapped, unreachable (I5)", local: by(data(now), two), recorded: recorded, answer: Refuse, says: "swapped"},
		{name: "disks swapped, the list knows no name yet (I5)", local: by(data(now), two), peers: peersOf(now, member("22", "", "2"), three), recorded: recorded, answer: Refuse, says: "swapped"},

		// A node that has lost its node.json.
		{name: "nothing recorded, unreachable", local: unrecorded(now), answer: Refuse, says: "ceo node install"},
		{name: "nothing recorded, a quorum lists me", local: unrecorded(now), peers: unknownEpoch(peersOf(now, me, two)), answer: Start, says: "node.json is missing"},
		{name: "nothing recorded, peers without quorum list me", local: unrecorded(now), peers: stale(unknownEpoch(peersOf(now, me, two))), answer: Refuse, says: "ceo node install"},
		{name: "nothing recorded, a quorum has removed me", local: unrecorded(now), peers: unknownEpoch(peersOf(now, two, three)), answer: Wait, archive: archive, needs: NeedAdd},
		{name: "nothing recorded, peers of another cluster", local: unrecorded(now), peers: peersOf(alien, two), answer: Refuse, says: "cannot be told"},

		// Damaged data.
		{name: "damaged, unreachable: may be the last copy (I1)", local: broken(data(now)), recorded: recorded, answer: Refuse, says: "last copy"},
		{name: "damaged, peers without quorum (I1)", local: broken(data(now)), peers: stale(peersOf(now, me, two)), recorded: recorded, answer: Refuse, says: "may be needed"},
		{name: "damaged, of the past", local: broken(data(past)), recorded: recorded, answer: Wait, archive: archive, needs: NeedAdd},
		{name: "damaged beyond its ids, current peers", local: broken(none()), peers: peersOf(now, me, two), recorded: recorded, answer: Wait, archive: archive, needs: NeedReplace},
		{name: "damaged beyond its ids, unknown peers that know me", local: broken(none()), peers: peersOf(alien, me, two), answer: Wait, archive: archive, needs: NeedReplace},
		{name: "damaged, peers of an unknown cluster", local: broken(data(now)), peers: peersOf(alien, two), recorded: recorded, answer: Refuse},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := Decide(Input{Local: row.local, Peers: row.peers, Recorded: row.recorded, Intent: row.intent, Hold: row.hold, Self: cp1, Flags: row.flags, Token: "random"})
			if d.Answer != row.answer || d.Archive != row.archive || d.Needs != row.needs {
				t.Errorf("got %s archive=%v needs=%q, want %s archive=%v needs=%q\n%s", d.Answer, d.Archive, d.Needs, row.answer, row.archive, row.needs, d.Reason)
			}
			if !strings.Contains(d.Reason, row.says) {
				t.Errorf("the reason does not say %q: %s", row.says, d.Reason)
			}
			if strings.Contains(d.Reason+d.WaitsFor, "%!") {
				t.Errorf("badly formatted: %s / %s", d.WaitsFor, d.Reason)
			}
		})
	}
}

func learner(m Member) Member { m.IsLearner = true; return m }

func inUse(l Local) Local { l.InUse = true; return l }

func TestInitialCluster(t *testing.T) {
	other := member("44", "", "4")
	d := Decide(Input{Local: none(), Peers: peersOf(now, two, added, other), Recorded: recorded, Self: cp1})
	const want = "cp-1=https://10.0.0.1:2380,cp-2=https://10.0.0.2:2380,unstarted-44=https://10.0.0.4:2380"
	if d.Answer != Join || d.InitialCluster != want || d.InitialClusterState != "existing" {
		t.Errorf("join: %+v", d)
	}
	d = Decide(Input{Local: none(), Intent: node.Intent{BootstrapOnce: true}, Self: cp1, Token: "random"})
	if d.InitialCluster != "cp-1=https://10.0.0.1:2380" || d.InitialClusterState != "new" || d.InitialClusterToken != "random" {
		t.Errorf("P1: bootstrap: %+v", d)
	}
	d = Decide(Input{Local: data(now), Recorded: recorded, Self: cp1})
	if d.InitialCluster != "cp-1=https://10.0.0.1:2380" || d.InitialClusterState != "existing" {
		t.Errorf("start alone: %+v", d)
	}
	d = Decide(Input{Local: data(now), Peers: peersOf(now, me, two), Recorded: recorded, Self: cp1})
	if d.InitialCluster != "cp-1=https://10.0.0.1:2380,cp-2=https://10.0.0.2:2380" {
		t.Errorf("start with peers: %+v", d)
	}
}
