package schedules

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/operator/observe"
)

var now = time.Date(2026, 11, 27, 12, 10, 0, 0, time.UTC)

// observed is three nodes whose clocks are right.
func observed(at time.Time, change func(*observe.Observation)) observe.Observation {
	o := observe.Observation{At: at}
	for _, n := range []string{"cp-1", "cp-2", "cp-3"} {
		o.Nodes = append(o.Nodes, observe.Node{Name: n, State: &agentpb.NodeState{Name: n, At: timestamppb.New(at)}})
	}
	if change != nil {
		change(&o)
	}
	return o
}

func schedule(name string, change func(*v1alpha1.EtcdBackupSchedule)) v1alpha1.EtcdBackupSchedule {
	s := v1alpha1.EtcdBackupSchedule{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-30 * 24 * time.Hour))},
		Spec:       v1alpha1.EtcdBackupScheduleSpec{Schedule: "@hourly", HistoryLimit: 2, Retention: v1alpha1.RetentionSpec{Last: 3}},
	}
	if change != nil {
		change(&s)
	}
	return s
}

// made is an EtcdBackup of a slot that many hours ago, with its conditions: s succeeded, f failed, p proven, x proof failed, n no proof asked, "" runs.
func made(hours int, how string) v1alpha1.EtcdBackup {
	due := now.Truncate(time.Hour).Add(-time.Duration(hours) * time.Hour)
	b := v1alpha1.EtcdBackup{ObjectMeta: metav1.ObjectMeta{Name: Name("s", due)}}
	end(&b, due, how)
	return b
}

func end(b *v1alpha1.EtcdBackup, at time.Time, how string) {
	cond := func(t string, s metav1.ConditionStatus, reason string) {
		b.Status.Conditions = append(b.Status.Conditions, metav1.Condition{Type: t, Status: s, Reason: reason, Message: "said of " + t})
	}
	t := metav1.NewTime(at)
	if strings.Contains(how, "f") {
		cond("Succeeded", metav1.ConditionFalse, v1alpha1.ReasonBackupFailed)
	}
	if strings.Contains(how, "s") {
		cond("Succeeded", metav1.ConditionTrue, v1alpha1.ReasonBackupVerified)
		b.Status.Node, b.Status.Location = "cp-2", "file:///a"
		b.Status.Backup = &v1alpha1.BackupReference{ID: "id-" + b.Name, Time: &t}
	}
	switch {
	case strings.Contains(how, "p"):
		cond("Proven", metav1.ConditionTrue, v1alpha1.ReasonProven)
		b.Status.Backup.ProvenTime = &t
	case strings.Contains(how, "x"):
		cond("Proven", metav1.ConditionFalse, v1alpha1.ReasonProofFailed)
	case strings.Contains(how, "n"):
		cond("Proven", metav1.ConditionFalse, v1alpha1.ReasonNotRequested)
	}
}

func at(hours int) *metav1.Time {
	t := metav1.NewTime(now.Truncate(time.Hour).Add(-time.Duration(hours) * time.Hour))
	return &t
}

func TestDecide(t *testing.T) {
	yes := true
	slot0, slot1 := Name("s", at(0).Time), Name("s", at(1).Time)
	recovery := func(o *observe.Observation) { o.Nodes[0].State.Recovery = &agentpb.Recovery{Id: "r"} }
	dark := func(n int) func(*observe.Observation) {
		return func(o *observe.Observation) {
			for i := range n {
				o.Nodes[i].State = nil
			}
		}
	}
	last := func(hours int) func(*v1alpha1.EtcdBackupSchedule) {
		return func(s *v1alpha1.EtcdBackupSchedule) { s.Status.LastTime = at(hours) }
	}
	status := func(st v1alpha1.EtcdBackupScheduleStatus) func(*v1alpha1.EtcdBackupSchedule) {
		return func(s *v1alpha1.EtcdBackupSchedule) { s.Status = st }
	}
	for _, tt := range []struct {
		name    string
		s       func(*v1alpha1.EtcdBackupSchedule)
		backups []v1alpha1.EtcdBackup
		o       func(*observe.Observation)
		tried   time.Duration
		kind    Kind
		check   func(a Action, st v1alpha1.EtcdBackupScheduleStatus) bool
	}{
		{"due: claimed first", last(1), nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == slot0 && st.LastTime.Equal(at(0)) && st.NextTime.Equal(at(-1))
		}},
		{"claimed: created, and proven as none ever was", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Claimed: slot0}), nil, nil, 0, Create, func(a Action, _ v1alpha1.EtcdBackupScheduleStatus) bool {
			return a.Name == slot0 && a.Prove
		}},
		{"claimed and proven yesterday: no proof", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Claimed: slot0, LastProven: &v1alpha1.BackupReference{Time: at(24), ProvenTime: at(24)}}), nil, nil, 0, Create, func(a Action, _ v1alpha1.EtcdBackupScheduleStatus) bool { return !a.Prove }},
		{"claimed and created: it runs", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Claimed: slot0}), []v1alpha1.EtcdBackup{made(0, "")}, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Active == slot0 && st.Claimed == ""
		}},
		{"one runs: no second one, and the slot is not over", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(1), Active: slot1}), []v1alpha1.EtcdBackup{made(1, "")}, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == "" && st.LastTime.Equal(at(1)) && has(st, "UpToDate", "False", v1alpha1.ReasonBackupMissed)
		}},
		{"missed for days: the last one is made up, alone", last(100), nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == slot0 && st.LastTime.Equal(at(0))
		}},
		{"suspended", func(s *v1alpha1.EtcdBackupSchedule) { last(5)(s); s.Spec.Suspend = &yes }, nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == "" && st.NextTime == nil && has(st, "UpToDate", "True", v1alpha1.ReasonSuspended)
		}},
		{"suspended between claim and creation", func(s *v1alpha1.EtcdBackupSchedule) {
			s.Status = v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Claimed: slot0}
			s.Spec.Suspend = &yes
		}, nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool { return st.Claimed == "" }},
		{"P17 a recovery is open", last(1), nil, recovery, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == "" && has(st, "UpToDate", "False", v1alpha1.ReasonRecoveryOpen)
		}},
		{"P17 claimed, then a recovery", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Claimed: slot0}), nil, recovery, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool { return st.Claimed == slot0 }},
		{"I23 no agent answers", last(1), nil, dark(3), 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool { return st.Claimed == "" }},
		{"the operator's clock is wrong", last(1), nil, func(o *observe.Observation) { o.At = o.At.Add(time.Hour) }, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == "" && has(st, "UpToDate", "False", v1alpha1.ReasonClockDiffers)
		}},
		{"one node's clock is wrong", last(1), nil, func(o *observe.Observation) { o.Nodes[2].State.At = timestamppb.New(now.AddDate(9, 0, 0)) }, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool { return st.Claimed == slot0 }},
		{"the clock was years ahead: what was due then is taken back", last(-24 * 900), nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == "" && st.LastTime.Equal(at(0)) && st.NextTime.Equal(at(-1))
		}},
		{"the clock was a little ahead: no slot twice", last(-1), nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == "" && st.LastTime.Equal(at(-1)) && st.NextTime.Equal(at(-2))
		}},
		{"it succeeded: counted once, to be pruned", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Active: slot0, ConsecutiveFailures: 2, SinceProof: 3}), []v1alpha1.EtcdBackup{made(0, "sn")}, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Active == "" && st.ConsecutiveFailures == 0 && st.SinceProof == 4 && st.LastSuccess.ID == "id-"+slot0 && st.PruneAfter == slot0 && has(st, "UpToDate", "True", v1alpha1.ReasonBackupVerified)
		}},
		{"it was proven", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Active: slot0, SinceProof: 3}), []v1alpha1.EtcdBackup{made(0, "sp")}, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.SinceProof == 0 && st.LastProven.ID == "id-"+slot0 && has(st, "Proven", "True", v1alpha1.ReasonProven)
		}},
		{"I18 its proof failed: nothing is removed", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Active: slot0}), []v1alpha1.EtcdBackup{made(0, "sx")}, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.PruneAfter == "" && st.SinceProof == 1 && has(st, "Proven", "False", v1alpha1.ReasonProofFailed)
		}},
		{"I17 it failed: no success, nothing is removed", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Active: slot0}), []v1alpha1.EtcdBackup{made(0, "f")}, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.PruneAfter == "" && st.LastSuccess == nil && st.ConsecutiveFailures == 1 && has(st, "UpToDate", "False", v1alpha1.ReasonBackupFailed)
		}},
		{"the one that ran was deleted by hand: not made again", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), Active: slot0}), nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool { return st.Active == "" && st.Claimed == "" }},
		{"restored from a backup: one runs that the status does not know of", last(0), []v1alpha1.EtcdBackup{made(1, "")}, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool { return st.Active == slot1 }},
		{"pruned on the node that made it, in the place that it went to", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), PruneAfter: slot0}), []v1alpha1.EtcdBackup{made(0, "sn")}, nil, 0, Prune, func(a Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return a.Node.Name == "cp-2" && a.Store == "file:///a" && st.PruneAfter == slot0 &&
				slices.Equal(a.Retention, backup.Policies{{Last: 3}, {Last: 1, MaxAge: backup.Duration(24 * time.Hour), MaxSize: 2 << 30}})
		}},
		{"I23 its node is dark: not pruned elsewhere", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), PruneAfter: slot0}), []v1alpha1.EtcdBackup{made(0, "sn")}, func(o *observe.Observation) { o.Nodes[1].State = nil }, 0, Nothing, nil},
		{"P17 a recovery that cannot be ruled out: not pruned", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(0), PruneAfter: slot0}), []v1alpha1.EtcdBackup{made(0, "sn")}, func(o *observe.Observation) { o.Nodes[0].State, o.Nodes[2].State = nil, nil }, 0, Nothing, nil},
		{"a prune that failed a minute ago holds up no backup", status(v1alpha1.EtcdBackupScheduleStatus{LastTime: at(1), PruneAfter: slot1}), []v1alpha1.EtcdBackup{made(1, "sn")}, nil, time.Minute, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return st.Claimed == slot0 && st.PruneAfter == slot1
		}},
		{"history: the oldest objects go", last(0), []v1alpha1.EtcdBackup{made(2, "sn"), made(0, "sn"), made(3, "f"), made(1, "sn")}, nil, 0, Forget, func(a Action, _ v1alpha1.EtcdBackupScheduleStatus) bool {
			return len(a.Old) == 2 && a.Old[0].Name == Name("s", at(2).Time) && a.Old[1].Name == Name("s", at(3).Time)
		}},
		{"history: one of a time to come stays", last(0), []v1alpha1.EtcdBackup{made(-900, "sn"), made(0, "sn"), made(1, "f")}, nil, 0, Nothing, nil},
		{"a schedule that cannot be read", func(s *v1alpha1.EtcdBackupSchedule) { s.Spec.Schedule = "@every 1s" }, nil, nil, 0, Nothing, func(_ Action, st v1alpha1.EtcdBackupScheduleStatus) bool {
			return has(st, "UpToDate", "False", v1alpha1.ReasonScheduleInvalid)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := Input{Now: now, Schedule: schedule("s", tt.s), Backups: tt.backups, O: observed(now, tt.o)}
			if tt.tried > 0 {
				in.Tried = now.Add(-tt.tried)
			}
			in.All = []v1alpha1.EtcdBackupSchedule{in.Schedule, schedule("other", func(s *v1alpha1.EtcdBackupSchedule) {
				s.Spec.Suspend = &yes
				s.Spec.Retention = v1alpha1.RetentionSpec{Last: 1, MaxAge: &metav1.Duration{Duration: 24 * time.Hour}, MaxSize: "2Gi"}
			})}
			a, st := Decide(in)
			if a.Kind != tt.kind || a.Reason == "" || tt.check != nil && !tt.check(a, st) {
				t.Errorf("%+v\n%+v", a, st)
			}
			// At rest nothing is written: the same again comes to the same.
			in.Schedule.Status = st
			if b, again := Decide(in); a.Kind == Nothing && b.Kind == Nothing && st.Claimed == "" && !statusEqual(st, again) && again.Claimed == "" {
				t.Errorf("written again:\n%+v\n%+v", st, again)
			}
		})
	}
}

func has(st v1alpha1.EtcdBackupScheduleStatus, condition, status, reason string) bool {
	c := meta.FindStatusCondition(st.Conditions, condition)
	return c != nil && string(c.Status) == status && c.Reason == reason
}

func TestName(t *testing.T) {
	due := time.Date(2026, 11, 27, 3, 0, 0, 0, time.FixedZone("", 3600))
	if n := Name("nightly", due); n != "nightly-20261127t0200z" {
		t.Error(n)
	}
	long := strings.Repeat("a", 120) + "." + strings.Repeat("b", 132)
	n := Name(long, due)
	if got, ok := Due(n); len(n) > 253 || !ok || !got.Equal(due) {
		t.Errorf("%s %s", n, got)
	}
	if l := label(long); len(l) > 63 || l == label(long[:252]) {
		t.Error(l)
	}
	for _, bad := range []string{"", "20261127t0200z", "by-hand", "x-20261399t0200z"} {
		if _, ok := Due(bad); ok {
			t.Errorf("%q has a time", bad)
		}
	}
}
