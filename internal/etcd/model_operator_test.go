package etcd_test

import (
	"fmt"
	"maps"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/maintenance"
	"clusteretcd.io/ceo/internal/etcd/rollout"
)

const (
	unhealthyTimeout = 5 * time.Minute
	healthyBound     = 2 * time.Minute
)

// operator is one of the two that think that they lead. Its controllers gather,
// decide, take the lock, gather and decide anew, ask whether the lock is still
// theirs, and apply; anything may happen between any two of these.
type operator struct {
	name   string
	paused bool
	stage  string // "", "decided", "locked", "checked"
	// kind is the controller at work.
	kind string
	do   any

	lastLook            int
	jump                time.Duration // what its clock adds to the next look
	unhealthy, unwanted map[uint64]etcd.Elapsed
	jumps               int
	// seenAt and wantedAt are the true ticks at which it last looked and the
	// member was healthy, or a node stood for it; for I23.
	seenAt, wantedAt map[uint64]int

	// seen is the commit index at its last look; goal, at the one before.
	seen, goal int
	// What was true when it looked under the lock: I6 is about that and what
	// operators did since.
	excused, served, intact map[uint64]bool
	version                 int
	back                    bool // it was to stand back
	home                    map[uint64]string
	goalAge                 int // ticks between its last two looks
}

func newOperator(name string) *operator {
	return &operator{name: name, unhealthy: map[uint64]etcd.Elapsed{}, unwanted: map[uint64]etcd.Elapsed{}, seenAt: map[uint64]int{}, wantedAt: map[uint64]int{}}
}

func (o *operator) reset() { o.stage, o.kind, o.do, o.served = "", "", nil, nil }

// look is what the operator sees.
func (o *operator) look(w *world) etcd.View {
	v := etcd.View{Leader: w.leader, UnhealthyTimeout: unhealthyTimeout, Pause: etcd.Pause{Unmanaged: w.unmanaged, Recovery: w.recovery}}
	since := time.Duration(w.now-o.lastLook)*tickSeconds*time.Second + o.jump
	for _, m := range w.machines {
		if !m.wanted {
			continue
		}
		n := etcd.Node{Name: m.name, PeerURL: m.url}
		if m.reachable() && !m.silent {
			ran, added := w.ran(m), w.added(m)
			n.Waiting = m.data == 0 && !ran && !added
			n.Wiped = m.data == 0 && ran
			if w.member(m.data) != nil {
				n.Holds = m.data
			}
		}
		v.Nodes = append(v.Nodes, n)
	}
	for _, x := range w.members {
		m := etcd.Member{ID: x.id, Name: x.name, PeerURL: x.url, Learner: x.learner}
		if at := w.at(x.url); at != nil && at.reachable() {
			m.Health = etcd.Unhealthy
			if w.serves(x) {
				m.Health = etcd.Healthy
			}
			m.Corrupt = at.corrupt && at.data == x.id
			m.Applied = uint64(at.applied)
			m.CaughtUp = etcd.CaughtUp(int64(at.applied), int64(o.seen), since)
			m.Restarting = at.silent || at.placed != at.running
		}
		v.Members = append(v.Members, m)
	}
	unwanted := map[uint64]bool{}
	for _, id := range v.Unwanted() {
		unwanted[id] = true
	}
	for i := range v.Members {
		m := &v.Members[i]
		o.unhealthy[m.ID] = o.unhealthy[m.ID].Look(m.Health != etcd.Healthy, since)
		o.unwanted[m.ID] = o.unwanted[m.ID].Look(unwanted[m.ID], since)
		if _, ok := o.seenAt[m.ID]; !ok || m.Health == etcd.Healthy {
			o.seenAt[m.ID] = w.now
		}
		if _, ok := o.wantedAt[m.ID]; !ok || !unwanted[m.ID] {
			o.wantedAt[m.ID] = w.now
		}
		m.UnhealthyFor, m.UnwantedFor = o.unhealthy[m.ID].For, o.unwanted[m.ID].For
	}
	o.goalAge = w.now - o.lastLook
	o.lastLook, o.jump, o.goal, o.seen = w.now, 0, o.seen, w.commit
	return v
}

func (o *operator) decide(w *world, kind string) (do any, changes bool) {
	v := o.look(w)
	switch kind {
	case "rollout":
		r := rollout.View{Cluster: v, Target: w.target, Bound: healthyBound, AcceptDowntime: true}
		for _, m := range w.machines {
			if !m.wanted && (w.member(m.data) == nil || w.machineOf(m.name).name != "") {
				continue
			}
			n := rollout.Node{Name: m.name, Leaving: !m.wanted}
			if m.reachable() && !m.silent {
				n = rollout.Node{
					Name: m.name, Leaving: !m.wanted, Answers: true, Placed: m.placed, Running: m.running, Ill: m.ill, LastGood: m.lastGood, RolledBackFrom: m.rolledFrom,
					PlacedFor: time.Duration(w.now-m.placedAt) * tickSeconds * time.Second,
				}
			}
			r.Nodes = append(r.Nodes, n)
		}
		a := rollout.Next(r)
		return a, a.Changes()
	case "maintenance":
		m := maintenance.View{Cluster: v, Policy: maintenance.Policy{MinSize: 1, Fragmentation: 0.5}, AcceptDowntime: true}
		for _, x := range w.members {
			s := maintenance.Member{ID: x.id, DBSize: 100, InUse: 90, Quota: 1000}
			if at := w.at(x.url); w.serves(x) {
				if s.Answers = true; at.waste {
					s.InUse = 10
				}
			}
			m.Members = append(m.Members, s)
		}
		a := maintenance.Next(m)
		return a, a.Changes()
	}
	a := etcd.Decide(v)
	return a, a.Changes()
}

// step is the operator's next one. Mutants of the order of things are made by
// leaving one out.
func (o *operator) step(t *rapid.T, w *world, kind string) {
	if o.paused {
		return
	}
	switch o.stage {
	case "":
		if do, ok := o.decide(w, kind); ok {
			o.kind, o.do, o.stage = kind, do, "decided"
		}
	case "decided":
		switch a, isRollout := o.do.(rollout.Action); {
		case isRollout && a.Unlocked:
			o.check(w)
		case !w.quorate(w.serves):
			o.reset() // no quorum, no lock
		case w.lock == nil:
			w.lock, o.stage = o, "locked"
		}
	case "locked":
		o.check(w)
	case "checked":
		if w.lock == o || unlocked(o.do) {
			o.apply(t, w)
		}
		o.finish(w)
	}
}

func unlocked(do any) bool {
	a, ok := do.(rollout.Action)
	return ok && a.Unlocked
}

// check gathers and decides anew: what was seen before the lock may be history.
func (o *operator) check(w *world) {
	do, ok := o.decide(w, o.kind)
	if !ok || (unlocked(do) != (w.lock != o)) {
		o.finish(w)
		return
	}
	o.do, o.stage, o.version, o.back = do, "checked", w.version, w.unmanaged || w.recovery != ""
	o.served, o.excused, o.intact, o.home = map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]string{}
	for _, m := range w.members {
		o.excused[m.id], o.intact[m.id] = w.excused(m), w.intact(m)
		home := w.home(m.id)
		o.served[m.id] = w.serves(m) && !w.taken[m.id] && !home.corrupt
		if home != nil {
			o.home[m.id] = home.url
		}
	}
}

func (o *operator) finish(w *world) {
	if w.lock == o {
		w.lock = nil
	}
	o.reset()
}

func (o *operator) apply(t *rapid.T, w *world) {
	if o.back {
		t.Fatalf("P17: %s does not stand back: %+v", o.name, o.do)
	}
	if a, ok := o.do.(rollout.Action); ok && a.Unlocked {
		// The agent's own check.
		if x := w.member(a.MemberID); x == nil || w.serves(*x) {
			return
		}
	} else if o.version != w.version {
		t.Fatalf("I7: %s applies %+v, and the membership was changed since it looked", o.name, o.do)
	}
	counted := func(m member) bool { return o.served[m.id] && !w.taken[m.id] }
	intact := func(m member) bool { return o.intact[m.id] }
	had, whole := w.quorate(counted), w.quorate(intact)
	voters, _ := w.count(counted)
	exempt := false
	switch a := o.do.(type) {
	case etcd.Action:
		exempt = a.Kind == etcd.UpdatePeerURL && voters <= 2
		o.change(t, w, a)
	case rollout.Action:
		m := w.machineOf(a.Node)
		if home := w.home(a.MemberID); a.MemberID != 0 && home != nil && home.name == a.Node {
			m = home // not wanted any more
		}
		switch a.Kind {
		case rollout.MoveLeader:
			w.moveLeader(a.To)
		case rollout.Restart, rollout.RollBack:
			exempt = voters <= 2
			if a.Kind == rollout.RollBack {
				m.rolledFrom = m.placed
			}
			if a.Kind == rollout.Restart {
				m.rolledFrom = ""
			}
			m.ill = a.Ill
			if m.placed = a.Revision; m.reachable() || m.exists {
				m.placedAt = w.now
			}
			if a.MemberID != 0 && m.data == a.MemberID {
				// What runs already is not restarted, nor is a member that is elsewhere by now.
				w.taken[a.MemberID] = m.placed != m.running
			}
		}
	case maintenance.Action:
		switch a.Kind {
		case maintenance.MoveLeader:
			w.moveLeader(a.To)
		case maintenance.Defragment:
			exempt = voters <= 2
			if x := w.member(a.MemberID); x != nil && w.serves(*x) {
				w.at(x.url).defrag, w.taken[a.MemberID] = true, true
			}
		}
	}
	if had && !exempt && !w.quorate(counted) {
		t.Fatalf("I6: %s lost the quorum by %+v\n%s", o.name, o.do, w)
	}
	if whole && !w.quorate(intact) {
		t.Fatalf("%s gave up the last whole majority by %+v\n%s", o.name, o.do, w)
	}
}

// change is one of the membership. etcd commits it only with a quorum.
func (o *operator) change(t *rapid.T, w *world, a etcd.Action) {
	if !w.quorate(w.serves) {
		return
	}
	x := w.member(a.MemberID)
	switch a.Kind {
	case etcd.AddLearner:
		for _, m := range w.members {
			if m.learner {
				t.Fatalf("I7: %s adds %s beside a learner\n%s", o.name, a.Node, w)
			}
			if m.url == a.PeerURL {
				return // etcd refuses
			}
		}
		if len(w.members) >= etcd.MaxVoters {
			t.Fatalf("%d members, and one more is added", len(w.members))
		}
		w.nextID++
		w.members = append(w.members, member{id: w.nextID, url: a.PeerURL, learner: true})
	case etcd.Promote:
		if at := w.at(x.url); at != nil && at.data == x.id && (o.goal == 0 || at.applied < o.goal) {
			t.Fatalf("I8: %s promotes %d, which has applied %d of %d", o.name, x.id, at.applied, o.goal)
		}
		if age := time.Duration(o.goalAge) * tickSeconds * time.Second; o.jumps == 0 && age > etcd.MaxStep {
			t.Fatalf("I8: %s promotes %d for what the leader had %s ago", o.name, x.id, age)
		}
		if all, _ := w.count(w.serves); all > 1 {
			o.served[x.id] = false // it may die of it
		}
		x.learner = false
	case etcd.Remove:
		o.mayRemove(t, w, *x)
		for i := range w.members {
			if w.members[i].id == a.MemberID {
				w.members = append(w.members[:i:i], w.members[i+1:]...)
				break
			}
		}
	case etcd.UpdatePeerURL:
		for _, m := range w.members {
			if m.url == a.PeerURL {
				return // etcd refuses
			}
		}
		if o.home[x.id] != a.PeerURL {
			t.Fatalf("P20: %s sends %d to %s, where its data is not\n%s", o.name, x.id, a.PeerURL, w)
		}
		x.url, w.taken[x.id] = a.PeerURL, true
		if home := w.home(x.id); home != nil {
			home.restarting = true // as far as its peers go: they connect anew
		}
	case etcd.MoveLeader:
		w.moveLeader(a.To)
		return
	}
	w.version++
}

// excused: the member served, or is lost by its node's own word: its disk is
// wiped, its data corrupt, its address another's.
func (w *world) excused(x member) bool {
	at, home := w.at(x.url), w.home(x.id)
	return w.serves(x) || (at != nil && at.wanted && at.data != x.id) || (home != nil && (home.corrupt || home.url != x.url))
}

// mayRemove is I23, against the truth: any other member has had its time.
func (o *operator) mayRemove(t *rapid.T, w *world, x member) {
	if o.excused[x.id] {
		return
	}
	since := o.seenAt[x.id]
	if o.wantedAt[x.id] < o.lastLook {
		since = max(since, o.wantedAt[x.id])
	}
	had := time.Duration(w.now-since)*tickSeconds*time.Second + time.Duration(o.jumps)*etcd.MaxStep
	if had < unhealthyTimeout {
		t.Fatalf("I23: %s removes %d, of which nothing has been known for %s only\n%s", o.name, x.id, had, w)
	}
}

func (w *world) machineOf(name string) *machine {
	for _, m := range w.machines {
		if m.wanted && m.name == name {
			return m
		}
	}
	return &machine{}
}

func (w *world) moveLeader(to uint64) {
	if m := w.member(to); m != nil && !m.learner && w.serves(*m) {
		w.leader = to
	}
}

func (w *world) String() string {
	s := fmt.Sprintf("tick %d, leader %d, taken %v, target %s\n", w.now, w.leader, maps.Clone(w.taken), w.target)
	for _, m := range w.members {
		s += fmt.Sprintf("  member %+v serves=%v intact=%v\n", m, w.serves(m), w.intact(m))
	}
	for _, m := range w.machines {
		s += fmt.Sprintf("  machine %+v\n", *m)
	}
	return s
}
