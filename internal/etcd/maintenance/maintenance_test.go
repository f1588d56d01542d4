package maintenance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcd"
)

const mib = 1 << 20

// view is n healthy voters, cp-1 leading, with 100 of 400 MiB free each.
func view(n int) View {
	v := View{Policy: Policy{MinSize: 100 * mib, Fragmentation: 0.5}}
	v.Cluster.Leader = 1
	for i := 1; i <= n; i++ {
		v.Cluster.Members = append(v.Cluster.Members, etcd.Member{ID: uint64(i), Name: fmt.Sprintf("cp-%d", i), Health: etcd.Healthy})
		v.Members = append(v.Members, Member{ID: uint64(i), Answers: true, DBSize: 400 * mib, InUse: 300 * mib, Quota: 1000 * mib})
	}
	return v
}

type change func(*View)

func with(v View, changes ...change) View {
	for _, c := range changes {
		c(&v)
	}
	return v
}

func use(i int, inUse, of int64) change {
	return func(v *View) { v.Members[i-1].InUse, v.Members[i-1].DBSize = inUse*mib, of*mib }
}

func health(i int, h etcd.Health) change { return func(v *View) { v.Cluster.Members[i-1].Health = h } }

func alarm(a Alarm, id uint64) change {
	return func(v *View) { v.Alarms = append(v.Alarms, Raised{a, id}) }
}

func compacted(v *View) { v.Compacted = true }

func accepted(v *View) { v.AcceptDowntime = true }

func TestNext(t *testing.T) {
	full := func(n int, more ...change) View {
		v := with(view(n), alarm(NoSpace, 2), compacted)
		for i := range n {
			use(i+1, 500, 1000)(&v)
		}
		return with(v, more...)
	}
	all := func(n int) View { return with(view(n), use(1, 100, 400), use(2, 100, 400), use(3, 100, 500)) }
	minute := Limit(100 * mib)
	half := Limit(500 * mib)
	for name, c := range map[string]struct {
		view   View
		action Action // its reason is a part of it
	}{
		"nothing is worth it":         {view(3), Action{Kind: Nothing, Reason: "no database of 100 MiB and more is free by 50%"}},
		"too small to bother":         {with(view(3), use(2, 1, 99)), Action{Kind: Nothing, Reason: "no database"}},
		"an empty answer is no size":  {with(view(3), use(2, 0, 0), func(v *View) { v.Policy = Policy{} }, func(v *View) { v.Members = v.Members[1:2] }), Action{Kind: Nothing, Reason: "no database"}},
		"disabled":                    {with(all(3), func(v *View) { v.Policy.Disabled = true }), Action{Kind: Nothing, Reason: "disabled"}},
		"P26: most to give back":      {all(3), Action{Kind: Defragment, MemberID: 3, Limit: minute, Reason: "cp-3 uses 100 MiB of its 500 MiB"}},
		"P26: followers first":        {with(view(3), use(1, 100, 900), use(2, 100, 400)), Action{Kind: Defragment, MemberID: 2, Limit: minute, Reason: "cp-2 uses"}},
		"P26: the leader hands over":  {with(view(3), use(1, 100, 900)), Action{Kind: MoveLeader, MemberID: 1, To: 2, Reason: "handed to cp-2 first"}},
		"P26: no leader is known":     {with(all(3), func(v *View) { v.Cluster.Leader = 0 }), Action{Kind: Wait, MemberID: 3, Limit: minute, Reason: "no leader is known"}},
		"P26: only with all healthy":  {with(view(5), use(2, 100, 400), health(5, etcd.Unknown)), Action{Kind: Wait, MemberID: 2, Limit: minute, Reason: "only with all (P26)"}},
		"I7: a learner is on its way": {with(all(3), func(v *View) { v.Cluster.Members[2].Learner = true }), Action{Kind: Wait, MemberID: 3, Limit: minute, Reason: "is a learner on its way"}},
		"I6: one of two":              {with(view(2), use(2, 100, 400)), Action{Kind: Wait, MemberID: 2, Limit: minute, Reason: "only 1 of 2"}},
		"one of two, accepted":        {with(view(2), use(2, 100, 400), accepted), Action{Kind: Defragment, MemberID: 2, Limit: minute, Reason: "cp-2 uses"}},
		"I6: the only one":            {with(view(1), use(1, 100, 400)), Action{Kind: Wait, MemberID: 1, Limit: minute, Reason: "only 0 of 1"}},
		"the only one, accepted":      {with(view(1), use(1, 100, 400), accepted), Action{Kind: Defragment, MemberID: 1, Limit: minute, Reason: "cp-1 uses"}},
		"I23: one that is silent is not picked": {
			with(view(3), use(2, 100, 400), func(v *View) { v.Members[1].Answers = false }), Action{Kind: Nothing, Reason: "no database"},
		},
		"NOSPACE: compact":                   {with(view(3), alarm(NoSpace, 2)), Action{Kind: Compact, Frozen: true, Reason: "the quota of cp-2 is used up"}},
		"NOSPACE: defragment each":           {full(3), Action{Kind: Defragment, MemberID: 2, Frozen: true, Limit: half, Reason: "of the 1000 MiB of cp-2 500 MiB are free"}},
		"NOSPACE: the leader hands over":     {full(3, use(2, 500, 500), use(3, 500, 500)), Action{Kind: MoveLeader, MemberID: 1, To: 2, Frozen: true, Reason: "and leads"}},
		"NOSPACE: with disabled policy, too": {full(3, func(v *View) { v.Policy.Disabled = true }), Action{Kind: Defragment, MemberID: 2, Frozen: true, Limit: half, Reason: "cp-2"}},
		"NOSPACE: one that is down": {
			full(5, health(5, etcd.Unknown), func(v *View) { v.Members[4].Answers = false }), Action{Kind: Wait, MemberID: 5, Frozen: true, Reason: "cp-5's database is not known"},
		},
		"I6: NOSPACE, one cannot be missed": {full(3, health(3, etcd.Unhealthy)), Action{Kind: Wait, MemberID: 2, Limit: half, Frozen: true, Reason: "only 1 of 3"}},
		"NOSPACE: the only one":             {with(view(1), alarm(NoSpace, 1), compacted, use(1, 500, 1000)), Action{Kind: Defragment, MemberID: 1, Limit: half, Frozen: true, Reason: "cp-1"}},
		"NOSPACE: disarm":                   {with(view(3), alarm(NoSpace, 2), compacted), Action{Kind: Disarm, MemberID: 2, Alarm: NoSpace, Frozen: true, Reason: "well below"}},
		"NOSPACE: really full":              {full(3, use(1, 990, 1000), use(2, 990, 1000), use(3, 990, 1000)), Action{Kind: Wait, MemberID: 1, Frozen: true, Reason: "raise spec.quota"}},
		"CORRUPT: fenced":                   {with(view(3), alarm(Corrupt, 3)), Action{Kind: Fence, MemberID: 3, Frozen: true, Reason: "so that it answers nobody"}},
		"CORRUPT before NOSPACE":            {with(view(3), alarm(NoSpace, 2), alarm(Corrupt, 3)), Action{Kind: Fence, MemberID: 3, Frozen: true, Reason: "corrupt"}},
		"CORRUPT: the leader":               {with(view(3), alarm(Corrupt, 1)), Action{Kind: MoveLeader, MemberID: 1, To: 2, Frozen: true, Reason: "cp-1 is corrupt and leads"}},
		"I6: CORRUPT, cannot be missed":     {with(view(3), alarm(Corrupt, 3), health(2, etcd.Unknown)), Action{Kind: Wait, MemberID: 3, Frozen: true, Reason: "only 1 of 3"}},
		"CORRUPT: fenced already":           {with(view(3), alarm(Corrupt, 3), func(v *View) { v.Members[2].Fenced = true }), Action{Kind: Wait, MemberID: 3, Frozen: true, Reason: "out of service"}},
		"CORRUPT: replaced":                 {with(view(3), alarm(Corrupt, 7)), Action{Kind: Disarm, MemberID: 7, Alarm: Corrupt, Frozen: true, Reason: "not in the membership"}},
		"P17: a recovery is open":           {with(all(3), func(v *View) { v.Cluster.Pause.Recovery = "r-1" }), Action{Kind: Wait, Reason: "recovery r-1"}},
		"a person works by hand":            {with(view(3), alarm(Corrupt, 3), func(v *View) { v.Cluster.Pause.Unmanaged = true }), Action{Kind: Wait, Reason: "Unmanaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := Next(c.view)
			if !strings.Contains(a.Reason, c.action.Reason) {
				t.Errorf("reason %q, want %q", a.Reason, c.action.Reason)
			}
			if a.Reason = c.action.Reason; a != c.action {
				t.Errorf("got %+v, want %+v", a, c.action)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	v := with(view(4), use(1, 800, 900), use(2, 100, 850), func(v *View) { v.Members[2].Answers, v.Members[2].InUse = false, 999*mib })
	got := Warnings(v)
	if len(got) != 2 || !strings.Contains(got[0], "cp-1 uses 800 MiB of a quota of 1000 MiB") || !strings.Contains(got[1], "cp-2's database is 850 MiB") {
		t.Errorf("got %q", got)
	}
	if w := Warnings(view(3)); len(w) != 0 {
		t.Errorf("warned without cause: %q", w)
	}
}

// P26: the limit grows with what is to be copied.
func TestLimit(t *testing.T) {
	limits := []time.Duration{Limit(-1), Limit(1 << 30), Limit(8 << 30)}
	if !slices.IsSorted(limits) || limits[0] < time.Minute || limits[2] < 4*time.Minute {
		t.Errorf("got %v", limits)
	}
}
