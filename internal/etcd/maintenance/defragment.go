package maintenance

import (
	"fmt"

	"clusteretcd.io/ceo/internal/etcd"
)

// defragment gives free pages back where that is worth it: one at a time, the
// leader last and handed over first, and only with all healthy (P26). A member
// that is being defragmented answers nothing, so all that holds for a restart
// holds for it (I6).
func defragment(v View) Action {
	if v.Policy.Disabled {
		return Action{Kind: Nothing, Reason: "defragmentation is disabled"}
	}
	worth := func(m Member) bool {
		return m.DBSize > 0 && m.DBSize >= v.Policy.MinSize && m.fragmentation() >= v.Policy.Fragmentation
	}
	m, ok := v.pick(worth)
	if !ok {
		return Action{Kind: Nothing, Reason: fmt.Sprintf("no database of %s and more is free by %.0f%%", size(v.Policy.MinSize), 100*v.Policy.Fragmentation)}
	}
	a := Action{Kind: Wait, MemberID: m.ID, Limit: Limit(m.InUse)}
	why := fmt.Sprintf("%s uses %s of its %s", v.Cluster.Label(m.ID), size(m.InUse), size(m.DBSize))
	if l, ok := v.Cluster.Learner(); ok {
		a.Reason = why + ", but " + v.Cluster.Label(l.ID) + " is a learner on its way, and that is finished first (I7)"
		return a
	}
	if all, healthy := v.Cluster.Voters(); healthy < all {
		a.Reason = fmt.Sprintf("%s, but %d of %d voters are healthy, and a member is defragmented only with all (P26)", why, healthy, all)
		return a
	}
	if can := v.mayStandStill(m.ID); !can.OK {
		a.Reason = why + ", but " + can.Reason
		return a
	}
	return v.apply(a, why, worth)
}

// mendNoSpace: compact, defragment each, disarm.
func mendNoSpace(v View) (Action, bool) {
	raised := Raised{}
	for _, r := range v.Alarms {
		if r.Alarm == NoSpace {
			raised = r
			break
		}
	}
	if raised.Alarm == "" {
		return Action{}, false
	}
	a := Action{Kind: Wait, MemberID: raised.MemberID, Frozen: true}
	if !v.Compacted {
		a.Kind, a.MemberID, a.Reason = Compact, 0, "the quota of "+v.Cluster.Label(raised.MemberID)+" is used up, and etcd refuses every write: the history of the keys is compacted first"
		return a, true
	}
	for _, m := range v.Cluster.Members {
		if s, ok := v.of(m.ID); !ok || !s.Answers {
			a.MemberID, a.Reason = m.ID, "the size of "+v.Cluster.Label(m.ID)+"'s database is not known: the alarm stays until it answers, as it would be raised again"
			return a, true
		}
	}
	worth := func(m Member) bool { return m.tight() && m.fragmentation() >= 0.05 }
	if m, ok := v.pick(worth); ok {
		a.MemberID, a.Limit = m.ID, Limit(m.InUse)
		why := fmt.Sprintf("the quota is used up, and of the %s of %s %s are free", size(m.DBSize), v.Cluster.Label(m.ID), size(m.free()))
		// One or two voters: nothing can be written anyhow.
		v.AcceptDowntime = true
		if can := v.mayStandStill(m.ID); !can.OK {
			a.Reason = why + ", but " + can.Reason
			return a, true
		}
		return v.apply(a, why, worth), true
	}
	for _, m := range v.Members {
		if m.tight() {
			a.MemberID, a.Reason = m.ID, fmt.Sprintf("%s holds %s in %s of a quota of %s, and there is nothing to give back: raise spec.quota, or delete what fills it", v.Cluster.Label(m.ID), size(m.InUse), size(m.DBSize), size(m.Quota))
			return a, true
		}
	}
	a.Kind, a.Alarm, a.Reason = Disarm, NoSpace, "every database is well below its quota again: the alarm is disarmed"
	return a, true
}

// tight: a write or two more would raise the alarm again.
func (m Member) tight() bool { return m.Quota > 0 && m.DBSize >= m.Quota/10*9 }

// pick is the member whose turn it is: followers before the leader, and among
// them the one with most to give back.
func (v View) pick(worth func(Member) bool) (Member, bool) {
	best, found := Member{}, false
	for _, m := range v.Members {
		if !m.Answers || !worth(m) || !v.isMember(m.ID) {
			continue
		}
		leads, bestLeads := m.ID == v.Cluster.Leader, best.ID == v.Cluster.Leader
		if !found || (bestLeads && !leads) || (bestLeads == leads && m.free() > best.free()) {
			best, found = m, true
		}
	}
	return best, found
}

// apply defragments the member, once it does not lead any more.
func (v View) apply(a Action, why string, worth func(Member) bool) Action {
	all, _ := v.Cluster.Voters()
	switch {
	case v.Cluster.Leader == 0:
		a.Reason = why + ", but no leader is known, and the leader comes last"
		return a
	case v.Cluster.Leader == a.MemberID && all > 1:
		return v.handOver(a, why+" and leads", func(m etcd.Member) bool {
			s, ok := v.of(m.ID)
			return ok && s.Answers && !worth(s)
		})
	}
	a.Kind, a.Reason = Defragment, why+": it is defragmented"
	return a
}

// mayStandStill is CanLoseVoter, and the accepted downtime of one or two.
func (v View) mayStandStill(id uint64) etcd.Verdict {
	can := etcd.CanLoseVoter(v.Cluster, id)
	if all, healthy := v.Cluster.Voters(); !can.OK && v.AcceptDowntime && all <= 2 && healthy == all {
		return etcd.Verdict{OK: true, Reason: fmt.Sprintf("etcd has %d voter(s), and the time without it is accepted", all)}
	}
	return can
}

// Warnings are for people, before the alarm: what fills up.
func Warnings(v View) []string {
	var out []string
	for _, m := range v.Members {
		who := v.Cluster.Label(m.ID)
		switch {
		case !m.Answers || m.Quota <= 0:
		case m.InUse >= m.Quota/10*8:
			out = append(out, fmt.Sprintf("%s uses %s of a quota of %s: at the quota etcd refuses every write. Raise spec.quota, or find out what grows", who, size(m.InUse), size(m.Quota)))
		case m.DBSize >= m.Quota/10*8:
			out = append(out, fmt.Sprintf("%s's database is %s of a quota of %s, of which %s are free: defragment it before the quota is reached", who, size(m.DBSize), size(m.Quota), size(m.free())))
		}
	}
	return out
}

func size(bytes int64) string {
	switch {
	case bytes >= 10<<30:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
