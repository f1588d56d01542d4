// Package maintenance decides what a cluster's databases need next:
// defragmentation, and the way out of an alarm. It does no I/O and reads no
// clock.
package maintenance

import (
	"fmt"
	"time"

	"clusteretcd.io/ceo/internal/etcd"
)

// Kind of the next action.
type Kind string

// The actions.
const (
	// Nothing is to be done.
	Nothing Kind = "nothing"
	// Wait: something else has to happen first; the reason says what.
	Wait Kind = "wait"
	// Fence takes the member out of service: its agent holds its etcd stopped.
	Fence Kind = "fence"
	// Compact drops the history of the keys.
	Compact Kind = "compact"
	// MoveLeader hands the leadership from the member to another, To.
	MoveLeader Kind = "move-leader"
	// Defragment gives the free pages of the member's database back; the member
	// answers nothing meanwhile.
	Defragment Kind = "defragment"
	// Disarm takes the alarm back.
	Disarm Kind = "disarm"
)

// Alarm is one that etcd raised.
type Alarm string

// The alarms of etcd.
const (
	NoSpace Alarm = "NOSPACE"
	Corrupt Alarm = "CORRUPT"
)

// Action is at most one, with its reason.
type Action struct {
	Kind     Kind
	MemberID uint64
	To       uint64
	// Alarm that is disarmed.
	Alarm Alarm
	// Limit is how long a defragmentation may take.
	Limit time.Duration
	// Frozen: an alarm makes etcd refuse every write, the lock's included. So
	// nobody can take the lock, and lock.Frozen stands in its place.
	Frozen bool
	Reason string
}

// Changes reports whether there is anything to be done.
func (a Action) Changes() bool { return a.Kind != Nothing && a.Kind != Wait && a.Kind != "" }

// Member is what one member says of its database, in bytes.
type Member struct {
	ID uint64
	// Answers: it said all of this just now.
	Answers bool
	// DBSize is the file's size, which the quota is held against; InUse is what
	// would be left of it.
	DBSize, InUse int64
	// Quota is the member's own.
	Quota int64
	// Fenced: its agent holds its etcd stopped already.
	Fenced bool
}

func (m Member) free() int64 { return max(m.DBSize-m.InUse, 0) }

func (m Member) fragmentation() float64 {
	if m.DBSize <= 0 {
		return 0
	}
	return float64(m.free()) / float64(m.DBSize)
}

// Policy is the spec's.
type Policy struct {
	Disabled bool
	// MinSize of a database, and the share of it that has to be free, before it
	// is worth the member's standing still.
	MinSize       int64
	Fragmentation float64
}

// View is everything the decision is made of. In its Cluster a member that
// answers is healthy, whatever alarm is raised.
type View struct {
	Cluster etcd.View
	Members []Member
	// Alarms, by the member that each was raised for.
	Alarms []Raised
	// Compacted: the history was compacted since NOSPACE was first seen.
	Compacted bool
	Policy    Policy
	// AcceptDowntime: one voter, or one of two, may be defragmented although that
	// stops etcd meanwhile.
	AcceptDowntime bool
}

// Raised is an alarm and its member.
type Raised struct {
	Alarm    Alarm
	MemberID uint64
}

// Limit is how long the defragmentation of so many bytes in use may take
// before it is given up. Half of 16 GiB take one to two minutes (P26); this is
// several times that, as a busy disk is no reason to break off.
func Limit(inUse int64) time.Duration {
	const perSecond = 16 << 20
	return time.Minute + time.Duration(max(inUse, 0)/perSecond)*time.Second
}

// Next answers what is to be done next: what is corrupt first, then what is
// full, then what is merely wasteful.
func Next(v View) Action {
	if may := v.Cluster.Pause.MayAct(); !may.OK {
		return Action{Kind: Wait, Reason: may.Reason}
	}
	for _, mend := range []func(View) (Action, bool){mendCorrupt, mendNoSpace} {
		if a, ok := mend(v); ok {
			return a
		}
	}
	return defragment(v)
}

// mendCorrupt fences the member and leaves the rest to the decision about
// members, which removes it and adds it again. The alarm goes when it is gone:
// until then etcd refuses every request on every member.
func mendCorrupt(v View) (Action, bool) {
	for _, r := range v.Alarms {
		if r.Alarm != Corrupt {
			continue
		}
		a := Action{Kind: Wait, MemberID: r.MemberID, Frozen: true}
		who := v.Cluster.Label(r.MemberID)
		if !v.isMember(r.MemberID) {
			a.Kind, a.Alarm, a.Reason = Disarm, Corrupt, fmt.Sprintf("the corrupt member %x is not in the membership any more: the alarm is disarmed", r.MemberID)
			return a, true
		}
		if m, ok := v.of(r.MemberID); ok && m.Fenced {
			a.Reason = who + " is corrupt and out of service: it is removed and added again"
			return a, true
		}
		if can := etcd.CanLoseVoter(v.Cluster, r.MemberID); !can.OK {
			a.Reason = who + " is corrupt, but " + can.Reason + ": bring the others back, or `ceo recover --plan`"
			return a, true
		}
		if v.Cluster.Leader == r.MemberID {
			return v.handOver(a, who+" is corrupt and leads", nil), true
		}
		a.Kind, a.Reason = Fence, who+" is corrupt: it is taken out of service, so that it answers nobody, and then replaced"
		return a, true
	}
	return Action{}, false
}

func (v View) isMember(id uint64) bool {
	for _, m := range v.Cluster.Members {
		if m.ID == id {
			return true
		}
	}
	return false
}

func (v View) of(id uint64) (Member, bool) {
	for _, m := range v.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// handOver asks for the leadership to be moved, or says that it cannot.
func (v View) handOver(a Action, why string, ok func(etcd.Member) bool) Action {
	to, found := etcd.Successor(v.Cluster, a.MemberID, ok)
	if !found {
		a.Kind, a.Reason = Wait, why+", and there is no healthy voter to take over"
		return a
	}
	a.Kind, a.To, a.Limit = MoveLeader, to.ID, 0
	a.Reason = why + ": the leadership is handed to " + v.Cluster.Label(to.ID) + " first"
	return a
}
