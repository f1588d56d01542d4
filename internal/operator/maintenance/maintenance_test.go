package maintenance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcd/maintenance"
	"clusteretcd.io/ceo/internal/operator/observe"
)

var now = time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)

// three is a healthy cluster of three, cp-1 leading, and what is done to it.
func three(change ...func(*observe.Observation)) observe.Observation {
	c := &v1alpha1.EtcdCluster{}
	c.Name = v1alpha1.ClusterName
	o := observe.Observation{At: now, Cluster: c}
	var members []*agentpb.Member
	for i := range 3 {
		members = append(members, &agentpb.Member{Id: string(rune('a' + i)), Name: fmt.Sprintf("cp-%d", i+1)})
	}
	for i, m := range members {
		o.Nodes = append(o.Nodes, observe.Node{Name: m.Name, Address: fmt.Sprintf("10.0.0.%d", i+1), Wanted: true, State: &agentpb.NodeState{
			Name: m.Name, Etcd: &agentpb.Etcd{
				Answers: true, HasLeader: true, MemberId: m.Id, ClusterId: "1f", LeaderId: "a", Revision: 100, DbSize: 400 << 20, DbInUse: 300 << 20,
				Quota: 1 << 30, Members: members, MembersLinearizable: true,
			},
		}})
	}
	for _, f := range change {
		f(&o)
	}
	return o
}

func state(n int, f func(*agentpb.NodeState)) func(*observe.Observation) {
	return func(o *observe.Observation) { f(o.Nodes[n].State) }
}

func etcdOf(n int, f func(*agentpb.Etcd)) func(*observe.Observation) {
	return state(n, func(s *agentpb.NodeState) { f(s.Etcd) })
}

func raised(kind string, id int) func(*observe.Observation) {
	return func(o *observe.Observation) {
		for _, n := range o.Nodes {
			if n.State.GetEtcd() != nil {
				n.State.Etcd.Alarms = append(n.State.Etcd.Alarms, fmt.Sprintf("memberID:%d alarm:%s ", id, kind))
			}
		}
	}
}

// fenced: the guard holds cp-3, whose member is c.
func fenced(o *observe.Observation) {
	s := o.Nodes[2].State
	s.HoldId, s.Etcd, s.Guard = "corrupt/c", nil, &agentpb.Guard{State: "held"}
}

func unlisted(o *observe.Observation) {
	for _, n := range o.Nodes {
		if e := n.State.GetEtcd(); e != nil {
			e.Members = e.Members[:2]
		}
	}
}

func TestNextOfWhatIsSeen(t *testing.T) {
	small := func(e *agentpb.Etcd) { e.DbInUse = 10 << 20 }
	for name, c := range map[string]struct {
		o    observe.Observation
		kind maintenance.Kind
		id   uint64
	}{
		"well":                                   {three(), maintenance.Nothing, 0},
		"P26: fragmented":                        {three(etcdOf(1, small)), maintenance.Defragment, 0xb},
		"P26: the leader":                        {three(etcdOf(0, small)), maintenance.MoveLeader, 0xa},
		"P26: another is being defragmented":     {three(etcdOf(1, small), etcdOf(2, func(e *agentpb.Etcd) { e.Defragmenting = true })), maintenance.Wait, 0xb},
		"I23: one agent is dark":                 {three(etcdOf(1, small), func(o *observe.Observation) { o.Nodes[2].State = nil }), maintenance.Wait, 0xb},
		"P17: a recovery is open":                {three(etcdOf(1, small), state(2, func(s *agentpb.NodeState) { s.Recovery = &agentpb.Recovery{Id: "r"} })), maintenance.Wait, 0},
		"Unmanaged":                              {three(etcdOf(1, small), func(o *observe.Observation) { o.Cluster.Spec.ManagementState = v1alpha1.Unmanaged }), maintenance.Wait, 0},
		"no EtcdCluster is nobody's wish":        {three(etcdOf(1, small), func(o *observe.Observation) { o.Cluster = nil }), maintenance.Wait, 0},
		"disabled":                               {three(etcdOf(1, small), func(o *observe.Observation) { o.Cluster.Spec.Defragmentation.Mode = v1alpha1.DefragmentationDisabled }), maintenance.Nothing, 0},
		"too small by the spec":                  {three(etcdOf(1, small), func(o *observe.Observation) { o.Cluster.Spec.Defragmentation.MinSize = "1Gi" }), maintenance.Nothing, 0},
		"NOSPACE":                                {three(raised("NOSPACE", 0xb)), maintenance.Compact, 0},
		"CORRUPT: fenced first":                  {three(raised("CORRUPT", 0xc)), maintenance.Fence, 0xc},
		"CORRUPT: then waited for":               {three(raised("CORRUPT", 0xc), fenced), maintenance.Wait, 0xc},
		"CORRUPT: disarmed once it is gone":      {three(raised("CORRUPT", 0xc), fenced, unlisted), maintenance.Disarm, 0xc},
		"I6: CORRUPT, and another is restarting": {three(raised("CORRUPT", 0xc), etcdOf(1, func(e *agentpb.Etcd) { e.Defragmenting = true })), maintenance.Wait, 0xc},
	} {
		t.Run(name, func(t *testing.T) {
			if a := maintenance.Next(View(c.o, false)); a.Kind != c.kind || a.MemberID != c.id {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// A fence is let go when, and only when, a quorum says that its member is gone (I23), and never in a recovery (P17).
func TestReleases(t *testing.T) {
	for name, c := range map[string]struct {
		o    observe.Observation
		want int
	}{
		"nothing is fenced": {three(), 0},
		"still a member":    {three(fenced), 0},
		"removed":           {three(fenced, unlisted), 1},
		"I23: no quorum says so": {three(fenced, unlisted, func(o *observe.Observation) {
			for _, n := range o.Nodes[:2] {
				n.State.Etcd.MembersLinearizable = false
			}
		}), 0},
		"another's hold":                     {three(fenced, unlisted, state(2, func(s *agentpb.NodeState) { s.HoldId = "recovery/r-1" })), 0},
		"P17: a recovery is open":            {three(fenced, unlisted, state(0, func(s *agentpb.NodeState) { s.Recovery = &agentpb.Recovery{Id: "r"} })), 0},
		"its agent does not answer any more": {three(fenced, unlisted, func(o *observe.Observation) { o.Nodes[2].Err = "its agent does not answer" }), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Releases(c.o); len(got) != c.want || c.want > 0 && (got[0].Hold != "corrupt/c" || got[0].Node.Name != "cp-3") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// The fence outlasts the alarm: what was found corrupt is replaced although somebody disarmed it by hand.
func TestFencedStaysCorrupt(t *testing.T) {
	for _, m := range three(fenced).Membership().Members {
		if m.Corrupt != (m.Name == "cp-3") {
			t.Errorf("%+v", m.Member)
		}
	}
}

func TestRemovable(t *testing.T) {
	for name, c := range map[string]struct {
		o    observe.Observation
		want bool
	}{
		"fenced":                     {three(raised("CORRUPT", 0xc), fenced), true},
		"not fenced yet":             {three(raised("CORRUPT", 0xc)), false},
		"no alarm":                   {three(fenced), false},
		"I6: another is down":        {three(raised("CORRUPT", 0xc), fenced, etcdOf(1, func(e *agentpb.Etcd) { e.HasLeader = false })), false},
		"NOSPACE is no reason to go": {three(raised("NOSPACE", 0xc), fenced), false},
		"one that is gone already":   {three(raised("CORRUPT", 0xc), fenced, unlisted), false},
	} {
		t.Run(name, func(t *testing.T) {
			if id, why, ok := Removable(View(c.o, false)); ok != c.want || ok && (id != 0xc || why == "") {
				t.Errorf("got %x %q %v", id, why, ok)
			}
		})
	}
}

// One or two voters stand still for a defragmentation only once the quota is near.
func TestDowntimeIsAcceptedNearTheQuota(t *testing.T) {
	if View(three(), false).AcceptDowntime || !View(three(etcdOf(1, func(e *agentpb.Etcd) { e.DbSize = 900 << 20 })), false).AcceptDowntime {
		t.Error("accepted without need, or not with it")
	}
}

func hashesOf(values ...uint32) []Hash {
	var out []Hash
	for i, v := range values {
		out = append(out, Hash{Member: fmt.Sprintf("cp-%d", i+1), Revision: 7, CompactRevision: 3, Hash: v})
	}
	return out
}

func TestCompare(t *testing.T) {
	with := func(hs []Hash, f func([]Hash)) []Hash { f(hs); return hs }
	for name, c := range map[string]struct {
		hashes  []Hash
		outcome Outcome
		odd     string
	}{
		"the same":                 {hashesOf(1, 1, 1), Same, ""},
		"one differs":              {hashesOf(1, 2, 1), Differs, "cp-2"},
		"all differ":               {hashesOf(1, 2, 3), Differs, "cp-1 cp-2 cp-3"},
		"two of two differ":        {hashesOf(1, 2), Differs, "cp-1 cp-2"},
		"I23: one does not answer": {with(hashesOf(1, 2, 1), func(h []Hash) { h[2].Err = "time-out" }), Unknown, ""},
		"compacted in between":     {with(hashesOf(1, 2, 1), func(h []Hash) { h[1].CompactRevision = 5 }), Unknown, ""},
		"at another revision":      {with(hashesOf(1, 2, 1), func(h []Hash) { h[1].Revision = 8 }), Unknown, ""},
		"one member":               {hashesOf(1), Unknown, ""},
		"nobody":                   {nil, Unknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Compare(c.hashes); got.Outcome != c.outcome || strings.Join(got.Odd, " ") != c.odd || got.Reason == "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// Never is one of the majority blamed, and the order in which members answer changes nothing.
func TestCompareBlamesNoMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hs := hashesOf(rapid.SliceOfN(rapid.Uint32Range(1, 3), 0, 7).Draw(t, "hashes")...)
		got := Compare(hs)
		count := map[uint32]int{}
		for _, h := range hs {
			count[h.Hash]++
		}
		for _, h := range hs {
			if count[h.Hash] > len(hs)/2 && slices.Contains(got.Odd, h.Member) {
				t.Fatalf("%s is one of the majority: %+v", h.Member, got)
			}
		}
		if again := Compare(rapid.Permutation(hs).Draw(t, "order")); again.Outcome != got.Outcome || !slices.Equal(again.Odd, got.Odd) {
			t.Fatalf("%+v and %+v", got, again)
		}
	})
}

// Whatever is seen: nothing of what is dark, in a recovery, or needed for the quorum is stopped, removed or let go
// (I6, I23, P17).
func TestNothingThatIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := three()
		for i := range o.Nodes {
			e := o.Nodes[i].State.Etcd
			e.DbInUse = rapid.SampledFrom([]int64{1 << 20, 399 << 20}).Draw(t, "in use")
			e.HasLeader = rapid.IntRange(0, 4).Draw(t, "has a leader") > 0
			e.Defragmenting = rapid.IntRange(0, 4).Draw(t, "defragmenting") == 0
			if rapid.IntRange(0, 4).Draw(t, "dark") == 0 {
				o.Nodes[i].State = nil
			}
		}
		for _, kind := range []string{"NOSPACE", "CORRUPT"} {
			if rapid.IntRange(0, 2).Draw(t, kind) == 0 {
				raised(kind, rapid.IntRange(0xa, 0xc).Draw(t, "raised by"))(&o)
			}
		}
		if rapid.Bool().Draw(t, "fenced") && o.Nodes[2].State != nil {
			fenced(&o)
		}
		v := View(o, rapid.Bool().Draw(t, "compacted"))
		if len(Releases(o)) > 0 {
			t.Fatal("let a member go that is listed")
		}
		a := maintenance.Next(v)
		id, _, ok := Removable(v)
		if a.Kind == maintenance.Fence || a.Kind == maintenance.Defragment {
			id, ok = a.MemberID, true
		}
		if !ok {
			return
		}
		rest := 0
		for _, m := range v.Cluster.Members {
			if m.ID != id && m.Health == etcd.Healthy && !m.Corrupt && !m.Restarting {
				rest++
			}
		}
		if rest < 2 {
			t.Fatalf("%s of %x leaves %d: %s", a.Kind, id, rest, a.Reason)
		}
	})
}

func TestDue(t *testing.T) {
	s := func(f func(*Schedule)) Schedule {
		x := Schedule{Started: now.Add(-time.Hour), After: HashAfter, Interval: 4 * time.Hour}
		f(&x)
		return x
	}
	for name, c := range map[string]struct {
		s    Schedule
		want bool
	}{
		"never yet":                {s(func(*Schedule) {}), true},
		"just started":             {s(func(x *Schedule) { x.Started = now.Add(-time.Minute) }), false},
		"good a while ago":         {s(func(x *Schedule) { x.Good = now.Add(-time.Hour) }), false},
		"good long ago":            {s(func(x *Schedule) { x.Good = now.Add(-5 * time.Hour) }), true},
		"good in the future":       {s(func(x *Schedule) { x.Good = now.Add(time.Hour) }), true},
		"tried a moment ago":       {s(func(x *Schedule) { x.Tried = now.Add(-time.Minute) }), false},
		"tried a while ago":        {s(func(x *Schedule) { x.Tried = now.Add(-11 * time.Minute) }), true},
		"in doubt since before":    {s(func(x *Schedule) { x.Started, x.Doubt = now, true }), true},
		"in doubt, tried just now": {s(func(x *Schedule) { x.Tried, x.Doubt = now.Add(-time.Minute), true }), false},
		"no interval is daily":     {s(func(x *Schedule) { x.Interval, x.Good = 0, now.Add(-23*time.Hour) }), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.s.Due(now); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
