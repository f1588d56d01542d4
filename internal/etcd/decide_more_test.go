package etcd

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const timeout = 5 * time.Minute

// moved is a node at another address, with its data or without.
func moved(i, to int, holds bool) Node {
	n := want(i)
	n.PeerURL = url(to)
	if holds {
		n.Holds = uint64(i)
	}
	return n
}

// dark is a voter that is not seen healthy, and for how long that and its
// being unwanted have been so.
func dark(i int, unhealthy, unwanted time.Duration) Member {
	m := voter(i, Unknown)
	m.UnhealthyFor, m.UnwantedFor = unhealthy, unwanted
	return m
}

func corrupted(i int) Member {
	m := voter(i, Healthy)
	m.Corrupt = true
	return m
}

func restarting(m Member) Member { m.Restarting = true; return m }

func applied(m Member, index uint64) Member { m.Applied = index; return m }

func healthy(from, to int) (ms []Member) {
	for i := from; i <= to; i++ {
		ms = append(ms, voter(i, Healthy))
	}
	return ms
}

func wanted(from, to int) (ns []Node) {
	for i := from; i <= to; i++ {
		ns = append(ns, want(i))
	}
	return ns
}

func TestDecideInRegularOperation(t *testing.T) {
	newMachine := waiting(3)
	newMachine.PeerURL = url(33)
	wipedAndMoved := newMachine
	wipedAndMoved.Waiting, wipedAndMoved.Wiped = false, true
	lost := learner(4, Unknown, false)
	lost.UnhealthyFor = timeout
	two, three := slices.Clip(healthy(1, 2)), slices.Clip(healthy(1, 3))
	for name, c := range map[string]struct {
		view   View
		action Action // its reason is a part of it
	}{
		"I23: a voter that is merely unreachable is never removed": {
			View{Nodes: wanted(1, 3), Members: append(two, dark(3, 100*time.Hour, 0))},
			Action{Kind: Wait, Reason: "2 of 3 voters are healthy"},
		},
		"I23: its Node is gone, not for long enough": {
			View{Nodes: wanted(1, 2), Members: append(two, dark(3, time.Hour, timeout-time.Second))},
			Action{Kind: Wait, MemberID: 3, PeerURL: url(3), Reason: "it goes after 5m0s, and that is 4m59s so far"},
		},
		"I23: its Node is long gone, but it was healthy till now": {
			View{Nodes: wanted(1, 2), Members: append(two, dark(3, time.Second, time.Hour))},
			Action{Kind: Wait, MemberID: 3, PeerURL: url(3), Reason: "that is 1s so far"},
		},
		"a node gone for good": {
			View{Nodes: wanted(1, 2), Members: append(two, dark(3, timeout, timeout))},
			Action{Kind: Remove, MemberID: 3, PeerURL: url(3), Reason: "no node stands for cp-3"},
		},
		"a node gone for good goes though its successor has no member yet": {
			View{Nodes: append(wanted(1, 2), waiting(4)), Members: append(two, dark(3, timeout, timeout))},
			Action{Kind: Remove, MemberID: 3, PeerURL: url(3), Reason: "no node stands for cp-3"},
		},
		"I6: no fourth voter while one of three is down: etcd refuses it, too": {
			View{Nodes: append(wanted(1, 3), waiting(4)), Members: append(two, dark(3, time.Hour, 0))},
			Action{Kind: Wait, Node: "cp-4", Reason: "2 of 3 voters are healthy, and with one more 3 would be needed"},
		},
		"I6: a learner is not promoted while its missing vote would cost the quorum": {
			View{Nodes: wanted(1, 4), Members: append(two, voter(3, Unknown), learner(4, Healthy, true))},
			Action{Kind: Wait, Node: "cp-4", MemberID: 4, Reason: "is promoted later"},
		},
		"P22: a learner that is about to be restarted is not promoted": {
			View{Nodes: wanted(1, 2), Members: append(healthy(1, 1), restarting(learner(2, Healthy, true)))},
			Action{Kind: Wait, Node: "cp-2", MemberID: 2, Reason: "is about to be restarted"},
		},
		"P22: the vote of a voter that is about to be restarted is not counted on": {
			View{Nodes: wanted(1, 3), Members: append(healthy(1, 2), restarting(voter(3, Healthy)), voter(4, Healthy), dark(5, time.Hour, 0))},
			Action{Kind: Wait, MemberID: 4, PeerURL: url(4), Reason: "only 2 of 5 voters would be healthy"},
		},
		"I7: a lost voter goes beside a learner, whose promotion waits for it": {
			View{Nodes: append(wanted(1, 2), want(4)), Members: append(two, dark(3, timeout, timeout), learner(4, Healthy, true))},
			Action{Kind: Remove, MemberID: 3, PeerURL: url(3), Reason: "no node stands for cp-3"},
		},
		"a learner of a node that is dark holds no other up for ever": {
			View{Nodes: append(wanted(1, 3), want(4), waiting(5)), Members: append(three, lost)},
			Action{Kind: Remove, Node: "cp-4", MemberID: 4, PeerURL: url(4), Reason: "costs no vote"},
		},
		"a learner of a node that is dark stays if none waits": {
			View{Nodes: wanted(1, 4), Members: append(three, lost)},
			Action{Kind: Wait, Node: "cp-4", MemberID: 4, Reason: "is catching up"},
		},
		"P20: another address, the same data: kept": {
			View{Nodes: append(wanted(1, 2), moved(3, 33, true)), Members: append(two, voter(3, Unhealthy))},
			Action{Kind: UpdatePeerURL, Node: "cp-3", MemberID: 3, PeerURL: url(33), Reason: "its address is updated"},
		},
		"P20: another address, data not seen: nothing": {
			View{Nodes: append(wanted(1, 2), moved(3, 33, false)), Members: append(two, dark(3, time.Hour, 0))},
			Action{Kind: Wait, Node: "cp-3", MemberID: 3, PeerURL: url(33), Reason: "what it holds is not known"},
		},
		"P20: the one node of a cluster moves": {
			View{Nodes: []Node{moved(1, 11, true)}, Members: healthy(1, 1)},
			Action{Kind: UpdatePeerURL, Node: "cp-1", MemberID: 1, PeerURL: url(11), Reason: "its address is updated"},
		},
		"P20: a healthy voter is not reconnected while another is down": {
			View{Nodes: append(wanted(1, 2), moved(3, 33, true)), Members: []Member{voter(1, Healthy), voter(2, Unknown), voter(3, Healthy)}},
			Action{Kind: Wait, Node: "cp-3", MemberID: 3, PeerURL: url(33), Reason: "reconnect to it when more voters are healthy"},
		},
		"P20: an address that another still has is taken once that has moved": {
			View{Nodes: []Node{want(1), moved(2, 3, true), moved(3, 33, true)}, Members: three},
			Action{Kind: UpdatePeerURL, Node: "cp-3", MemberID: 3, PeerURL: url(33), Reason: "its address is updated"},
		},
		"P20: an address that a dark node has in the list": {
			View{Nodes: []Node{want(1), moved(2, 3, true)}, Members: append(two, dark(3, time.Minute, time.Minute)), UnhealthyTimeout: timeout},
			Action{Kind: Wait, MemberID: 3, PeerURL: url(3), Reason: "no node stands for cp-3"},
		},
		"P20: two that swapped their addresses": {
			View{Nodes: []Node{want(1), moved(2, 3, true), moved(3, 2, true)}, Members: three, Leader: 2},
			Action{Kind: Remove, Node: "cp-3", MemberID: 3, PeerURL: url(3), Reason: "have each other's addresses"},
		},
		"P20: a machine replaced under its name; the old one has its time": {
			View{Nodes: append(wanted(1, 2), newMachine), Members: append(two, dark(3, time.Minute, 0))},
			Action{Kind: Wait, Node: "cp-3", MemberID: 3, PeerURL: url(3), Reason: "goes after 5m0s"},
		},
		"P20: a machine replaced under its name": {
			View{Nodes: append(wanted(1, 2), newMachine), Members: append(two, dark(3, timeout, 0))},
			Action{Kind: Remove, Node: "cp-3", MemberID: 3, PeerURL: url(3), Reason: "was replaced by a machine at " + url(33)},
		},
		"P20: the same, told by its guard": {
			View{Nodes: append(wanted(1, 2), wipedAndMoved), Members: append(two, dark(3, timeout, 0))},
			Action{Kind: Remove, Node: "cp-3", MemberID: 3, PeerURL: url(3), Reason: "was replaced by a machine at " + url(33)},
		},
		"P20: two machines of one name, both alive": {
			View{Nodes: append(wanted(1, 2), newMachine), Members: three},
			Action{Kind: Wait, Node: "cp-3", MemberID: 3, PeerURL: url(3), Reason: "two machines have one name"},
		},
		"P2: a wiped disk under a member that is seen healthy is a contradiction": {
			View{Nodes: append(wanted(1, 2), wiped(3)), Members: three},
			Action{Kind: Wait, Node: "cp-3", MemberID: 3, PeerURL: url(3), Reason: "an old word"},
		},
		"I5: a copied disk": {
			View{Nodes: []Node{want(1), moved(2, 2, true), {Name: "cp-3", PeerURL: url(3), Holds: 2}}, Members: three},
			Action{Kind: Wait, Reason: "a copied disk"},
		},
		"two nodes with one address": {
			View{Nodes: []Node{want(1), moved(2, 1, true)}, Members: three},
			Action{Kind: Wait, Reason: "have one address"},
		},
		"corrupt data is replaced": {
			View{Nodes: wanted(1, 3), Members: append(two, corrupted(3)), Leader: 1},
			Action{Kind: Remove, Node: "cp-3", MemberID: 3, PeerURL: url(3), Reason: "differs from the others'"},
		},
		"corrupt data that leads is handed over first": {
			View{Nodes: wanted(1, 3), Members: []Member{voter(1, Healthy), applied(voter(2, Healthy), 9), corrupted(3)}, Leader: 3},
			Action{Kind: MoveLeader, Node: "cp-3", MemberID: 3, PeerURL: url(3), To: 2, Reason: "handed to cp-2 first"},
		},
		"corrupt data that leads is handed to one that goes later, if there is no other": {
			View{Nodes: []Node{want(3)}, Members: append(slices.Clip(healthy(1, 2)), corrupted(3)), Leader: 3},
			Action{Kind: MoveLeader, Node: "cp-3", MemberID: 3, PeerURL: url(3), To: 1, Reason: "handed to cp-1 first"},
		},
		"I6: corrupt data does not count for the quorum": {
			View{Nodes: wanted(1, 2), Members: append(healthy(1, 1), corrupted(2))},
			Action{Kind: Wait, Reason: "1 of 2 voters are healthy"},
		},
		"surplus: a learner goes first": {
			View{Nodes: wanted(1, 3), Members: append(healthy(1, 4), learner(5, Healthy, true))},
			Action{Kind: Remove, MemberID: 5, PeerURL: url(5), Reason: "the learner"},
		},
		"surplus: one that is down goes before one that is up": {
			View{Nodes: wanted(1, 3), Members: append(healthy(1, 4), dark(5, timeout, timeout))},
			Action{Kind: Remove, MemberID: 5, PeerURL: url(5), Reason: "no node stands for"},
		},
		"surplus: followers go before the leader": {
			View{Nodes: wanted(1, 3), Members: healthy(1, 5), Leader: 4},
			Action{Kind: Remove, MemberID: 5, PeerURL: url(5), Reason: "the others carry the quorum"},
		},
		"surplus: the leader hands over to one that stays": {
			View{Nodes: wanted(1, 3), Members: healthy(1, 4), Leader: 4},
			Action{Kind: MoveLeader, MemberID: 4, PeerURL: url(4), To: 1, Reason: "leads and is to go"},
		},
		"surplus: from two to one, the bootstrap member leads": {
			View{Nodes: wanted(1, 1), Members: append(healthy(1, 1), voter(9, Healthy)), Leader: 9},
			Action{Kind: MoveLeader, MemberID: 9, PeerURL: url(9), To: 1, Reason: "handed to cp-1"},
		},
		"surplus: from two to one": {
			View{Nodes: wanted(1, 1), Members: append(healthy(1, 1), voter(9, Healthy)), Leader: 1},
			Action{Kind: Remove, MemberID: 9, PeerURL: url(9), Reason: "carry the quorum"},
		},
		"seven to one, one at a time": {
			View{Nodes: wanted(1, 1), Members: healthy(1, 7), Leader: 1},
			Action{Kind: Remove, MemberID: 2, PeerURL: url(2), Reason: "carry the quorum"},
		},
		"the bootstrap member makes room for the seventh": {
			View{Nodes: append(wanted(1, 6), waiting(7)), Members: append(healthy(1, 6), voter(9, Healthy)), Leader: 1},
			Action{Kind: Remove, MemberID: 9, PeerURL: url(9), Reason: "carry the quorum"},
		},
		"an eighth node stays without": {
			View{Nodes: append(wanted(1, 7), waiting(8)), Members: healthy(1, 7)},
			Action{Kind: Wait, Node: "cp-8", Reason: "there are 7 members"},
		},
		"four voters: what the fourth is worth": {
			View{Nodes: wanted(1, 4), Members: healthy(1, 4)},
			Action{Kind: Settled, Reason: "no more may fail than with 3"},
		},
		"P17: a recovery is open": {
			View{Nodes: wanted(1, 2), Members: append(two, dark(3, timeout, timeout)), Pause: Pause{Recovery: "r-7"}},
			Action{Kind: Wait, Reason: "recovery r-7 is open"},
		},
		"a person works by hand": {
			View{Nodes: wanted(1, 2), Members: append(two, dark(3, timeout, timeout)), Pause: Pause{Unmanaged: true}},
			Action{Kind: Wait, Reason: "managementState is Unmanaged"},
		},
		"P17: whether a recovery is open is not known": {
			View{Nodes: wanted(1, 2), Members: two, Pause: Pause{Unread: "no agent answers"}},
			Action{Kind: Wait, Reason: "no agent answers"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.view.UnhealthyTimeout = timeout
			a := Decide(c.view)
			if !strings.Contains(a.Reason, c.action.Reason) {
				t.Errorf("reason %q, want %q", a.Reason, c.action.Reason)
			}
			if a.Reason = c.action.Reason; a != c.action {
				t.Errorf("got %+v, want %+v", a, c.action)
			}
		})
	}
}

func TestUnwantedAndMemberOf(t *testing.T) {
	v := View{Nodes: []Node{want(1), moved(2, 22, true)}, Members: healthy(1, 3)}
	if ids := v.Unwanted(); len(ids) != 1 || ids[0] != 3 {
		t.Errorf("unwanted: %v", ids)
	}
	if m, ok := v.MemberOf("cp-2"); !ok || m.ID != 2 {
		t.Errorf("member of cp-2: %v %v", m, ok)
	}
	if _, ok := v.MemberOf("cp-7"); ok {
		t.Error("a node that is not there has a member")
	}
}

// I23: a clock that jumps ages nothing, and a break begins anew.
func TestElapsed(t *testing.T) {
	e := Elapsed{}.Look(true, time.Hour)
	if e.For != 0 {
		t.Errorf("the first look counts from now, not %s", e.For)
	}
	if e = e.Look(true, time.Second); e.For != time.Second {
		t.Errorf("got %s", e.For)
	}
	if e = e.Look(true, 100*time.Hour); e.For != time.Second+MaxStep {
		t.Errorf("one that stood still for days counted %s", e.For)
	}
	if e = e.Look(true, -time.Hour); e.For != time.Second+MaxStep {
		t.Errorf("a clock that jumped back counted %s", e.For)
	}
	if e = e.Look(false, time.Second); e != (Elapsed{}) {
		t.Errorf("after a break: %v", e)
	}
}

// I8: the goal is what the leader had one look ago, and not long ago.
func TestCaughtUp(t *testing.T) {
	for name, c := range map[string]struct {
		applied, goal int64
		since         time.Duration
		want          bool
	}{
		"it has applied it":                 {10, 10, time.Second, true},
		"it has not":                        {9, 10, time.Second, false},
		"nothing is known of the leader":    {10, 0, time.Second, false},
		"whoever looks stood still":         {10, 10, MaxStep + 1, false},
		"a clock that is not to be trusted": {10, 10, -time.Second, false},
	} {
		if got := CaughtUp(c.applied, c.goal, c.since); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
