// Package upgrade decides whether the roll-out of another version of etcd may
// begin: one minor version at a time, with a snapshot first, and never back to
// a version that cannot read the data. It does no I/O.
package upgrade

import (
	"fmt"

	"clusteretcd.io/ceo/internal/etcd"
)

// Kind of the answer.
type Kind string

// The answers.
const (
	// Done: every member runs the wanted version.
	Done Kind = "done"
	// Wait: something else has to happen first; the reason says what.
	Wait Kind = "wait"
	// Refuse: this can never be done; the reason says what to set instead.
	Refuse Kind = "refuse"
	// Snapshot: take one and verify it before anything is restarted.
	Snapshot Kind = "snapshot"
	// Roll: the roll-out may begin, or goes on.
	Roll Kind = "roll"
)

// Action is the answer with its reason.
type Action struct {
	Kind   Kind
	Reason string
}

// Oldest and Newest are the series of etcd that this project knows how to run.
var (
	Oldest = Version{3, 5, 0}
	Newest = Version{3, 7, 0}
)

// before36 is what every member of 3.5 needs to be at before one of 3.6 joins
// it: earlier ones left removed members and learners behind (P23).
var before36 = Version{3, 5, 26}

// Member is what one member runs.
type Member struct {
	ID uint64
	// Version is "" where the member does not say.
	Version string
}

// View is everything the decision is made of.
type View struct {
	Cluster etcd.View
	Members []Member
	// ClusterVersion is what all members agreed on: etcd raises it by itself once
	// the last of them has been upgraded, and from then on there is no way back.
	ClusterVersion string
	// Target is what the spec asks for.
	Target string
	// Begun: a node has the target's revision placed already. The roll-out looks
	// after itself from then on, its roll-back included.
	Begun bool
	// Snapshot: one was taken for this upgrade, and verified.
	Snapshot bool
	// Alarms are the raised ones, in words.
	Alarms []string
}

// Next answers what is to be done next.
func Next(v View) Action {
	if may := v.Cluster.Pause.MayAct(); !may.OK {
		return Action{Wait, may.Reason}
	}
	target, err := Parse(v.Target)
	if err != nil {
		return Action{Refuse, err.Error() + ": change spec.etcd.version"}
	}
	cluster, err := Parse(v.ClusterVersion)
	if err != nil {
		return Action{Wait, "the cluster's version is not known yet"}
	}
	if a, refused := refuse(cluster, target); refused {
		return a
	}
	if v.Begun && !v.everyone(target) {
		return Action{Roll, "the roll-out of " + target.String() + " has begun"}
	}
	running := make([]Version, 0, len(v.Members))
	for _, m := range v.Members {
		x, err := Parse(m.Version)
		if err != nil {
			return Action{Wait, "the version of " + v.Cluster.Label(m.ID) + " is not known: nothing is upgraded until it answers (I23)"}
		}
		running = append(running, x)
	}
	if len(running) == 0 {
		return Action{Wait, "no member is known"}
	}
	if v.everyone(target) {
		if cluster.series() < target.series() {
			return Action{Wait, fmt.Sprintf("every member runs %s, and etcd is about to raise the cluster's version from %s", target, cluster.Series())}
		}
		return Action{Done, "every member runs " + target.String()}
	}
	return v.begin(target, running)
}

// refuse is what no waiting mends.
func refuse(cluster, target Version) (Action, bool) {
	switch next := (Version{cluster.Major, cluster.Minor + 1, 0}); {
	case target.series() < Oldest.series() || target.series() > Newest.series():
		return Action{Refuse, fmt.Sprintf("etcd %s is not one of %s to %s, which this version of ceo runs: change spec.etcd.version", target, Oldest.Series(), Newest.Series())}, true
	case target.series() < cluster.series():
		return Action{Refuse, fmt.Sprintf("the data is of etcd %s, and %s is older: a downgrade is refused. Set spec.etcd.version to %s or later; to go back in time as well, `ceo recover` from a backup of then", cluster.Series(), target, cluster.Series())}, true
	case target.series() > next.series():
		return Action{Refuse, fmt.Sprintf("from etcd %s to %s is more than one minor version: set spec.etcd.version to a %s first", cluster.Series(), target, next.Series())}, true
	}
	return Action{}, false
}

// begin is what has to be so before the first member is restarted.
func (v View) begin(target Version, running []Version) Action {
	for i, x := range running {
		switch who := v.Cluster.Label(v.Members[i].ID); {
		case x.series()+1 < target.series():
			return Action{Refuse, fmt.Sprintf("%s runs %s, and %s is more than one minor version later", who, x, target)}
		case x.series() == before36.series() && target.series() > x.series() && x.Less(before36):
			return Action{Refuse, fmt.Sprintf("%s runs %s, and 3.6 may come only after %s (P23): set spec.etcd.version to %s first", who, x, before36, before36)}
		}
	}
	if len(v.Alarms) > 0 {
		return Action{Wait, "an alarm is raised, which is mended first: " + v.Alarms[0]}
	}
	if _, ok := v.Cluster.Learner(); ok {
		return Action{Wait, "a learner is on its way, and the membership changes first (I7)"}
	}
	if all, healthy := v.Cluster.Voters(); healthy < all || all == 0 {
		return Action{Wait, fmt.Sprintf("%d of %d voters are healthy, and an upgrade begins with all", healthy, all)}
	}
	if !v.Snapshot {
		return Action{Snapshot, fmt.Sprintf("before %s a snapshot is taken and verified: there is no way back without it", target)}
	}
	return Action{Roll, fmt.Sprintf("all members are healthy, a snapshot is verified, and %s is one step: it is rolled out", target)}
}

func (v View) everyone(target Version) bool {
	for _, m := range v.Members {
		if x, err := Parse(m.Version); err != nil || x != target {
			return false
		}
	}
	return len(v.Members) > 0
}
