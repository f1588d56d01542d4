package schedules

import (
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/operator/slots"
)

func statusEqual(a, b v1alpha1.EtcdBackupScheduleStatus) bool {
	return equality.Semantic.DeepEqual(a, b)
}

// api is what an API server holds: one schedule, its objects, and a version that refuses a write of what was read before.
type api struct {
	s       v1alpha1.EtcdBackupSchedule
	version int
	objects map[string]*v1alpha1.EtcdBackup
	// created counts how often an object was created for each time; forgot are the times whose objects are gone.
	created map[string]int
	forgot  map[string]bool
	unseen  map[string]bool // deleted by hand while claimed
	rewound bool
}

// op is an operator in the middle of something.
type op struct {
	in      Input
	a       Action
	st      v1alpha1.EtcdBackupScheduleStatus
	version int
	busy    bool
}

// TestNoSlotTwice: two operators step on one API, each dies anywhere, clocks jump, objects are deleted by hand, proofs and
// backups fail, the retention fails. No time has two backups, never do two run at once, and the retention is never asked
// for but for a backup that was made and whose proof did not fail, with every schedule's policy (I17, I18, I20).
func TestNoSlotTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &api{objects: map[string]*v1alpha1.EtcdBackup{}, created: map[string]int{}, forgot: map[string]bool{}, unseen: map[string]bool{}}
		w.s = schedule("s", func(s *v1alpha1.EtcdBackupSchedule) {
			s.Spec.Schedule = rapid.SampledFrom([]string{"@hourly", "*/10 * * * *", "0 3 * * *"}).Draw(t, "schedule")
			s.Spec.HistoryLimit = int32(rapid.IntRange(1, 3).Draw(t, "history")) //nolint:gosec // small
			s.CreationTimestamp = metav1.NewTime(now)
		})
		other := schedule("other", func(s *v1alpha1.EtcdBackupSchedule) { s.Spec.Retention = v1alpha1.RetentionSpec{Daily: 9} })
		clock := now
		ops := [2]op{}
		for range rapid.IntRange(20, 120).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"tick", "tick", "step", "step", "step", "step", "step", "run", "run", "crash", "jump", "delete", "suspend"}).Draw(t, "what") {
			case "tick":
				clock = clock.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
			case "jump":
				clock = clock.Add(time.Duration(rapid.IntRange(-3*24*60, 3*24*60).Draw(t, "jump")) * time.Minute)
			case "step":
				o := &ops[rapid.IntRange(0, 1).Draw(t, "operator")]
				w.step(t, o, clock, other, rapid.Bool().Draw(t, "prune works"))
			case "crash":
				ops[rapid.IntRange(0, 1).Draw(t, "operator")] = op{}
			case "run":
				for _, b := range w.objects {
					if !Ended(*b) {
						end(b, clock, rapid.SampledFrom([]string{"f", "sn", "sp", "sx"}).Draw(t, "ends"))
					}
				}
			case "delete":
				if names := slices.Sorted(maps.Keys(w.objects)); len(names) > 0 {
					n := rapid.SampledFrom(names).Draw(t, "by hand")
					delete(w.objects, n)
					w.forgot[n] = true
					w.unseen[n] = w.unseen[n] || w.s.Status.Claimed == n
				}
			case "suspend":
				suspend := rapid.Bool().Draw(t, "suspend")
				w.s.Spec.Suspend = &suspend
				w.version++
			}
			w.check(t)
		}
		// Liveness: when clocks stay right and nothing fails, the next slot is run and the history is bounded.
		no := false
		w.s.Spec.Suspend = &no
		w.version++
		at, _ := slots.Parse(w.s.Spec.Schedule)
		ops = [2]op{}
		for range 6 { // a last time that lies ahead is taken back
			w.step(t, &ops[0], clock, other, true)
		}
		due := at.Next(clock.Add(clockSlack + time.Minute))
		for i := range 3 {
			clock = due
			for range 40 {
				w.step(t, &ops[0], clock, other, true)
				for _, b := range w.objects {
					if !Ended(*b) {
						end(b, clock, "sn")
					}
				}
			}
			n := Name("s", due)
			if w.objects[n] == nil && w.created[n] == 0 || i == 2 && w.s.Status.ConsecutiveFailures != 0 {
				t.Fatalf("round %d: no backup for %s: %+v", i, n, w.s.Status)
			}
			due = at.Next(due)
		}
		past := 0
		for n := range w.objects {
			if d, _ := Due(n); d.Sub(clock) <= clockSlack {
				past++
			}
		}
		if past > int(w.s.Spec.HistoryLimit)+1 {
			t.Fatalf("%d objects stay, %d are to", past, w.s.Spec.HistoryLimit)
		}
	})
}

// step is one half of a reconciliation: reading and deciding, or doing and writing.
func (w *api) step(t *rapid.T, o *op, clock time.Time, other v1alpha1.EtcdBackupSchedule, pruneWorks bool) {
	if !o.busy {
		in := Input{Now: clock, Schedule: *w.s.DeepCopy(), O: observed(clock, nil), All: []v1alpha1.EtcdBackupSchedule{w.s, other}, Tried: o.in.Tried}
		for _, n := range slices.Sorted(maps.Keys(w.objects)) {
			in.Backups = append(in.Backups, *w.objects[n].DeepCopy())
		}
		o.in, o.version, o.busy = in, w.version, true
		o.a, o.st = Decide(in)
		return
	}
	o.busy = false
	switch o.a.Kind {
	case Create:
		// The one thing that a version cannot refuse is a creation. An operator that is frozen between reading the claim and
		// creating its object, for as long as another takes to create, run and forget it, is not in this model: the lease of
		// the leader and the limit of a request are far shorter.
		if w.objects[o.a.Name] == nil && w.s.Status.Claimed == o.a.Name {
			w.created[o.a.Name]++
			b := &v1alpha1.EtcdBackup{}
			b.Name = o.a.Name
			w.objects[o.a.Name] = b
		}
	case Prune:
		b := w.objects[o.a.Name]
		if len(o.a.Retention) != 2 || o.a.Retention[0].Last != 3 || o.a.Retention[1].Daily != 9 || o.a.Store != "file:///a" || o.a.Node.Name != "cp-2" {
			t.Fatalf("asked for the wrong retention: %+v", o.a)
		}
		if b != nil && (!is(*b, v1alpha1.ConditionSucceeded, metav1.ConditionTrue) || proofFailed(*b)) {
			t.Fatalf("pruned after a backup that is not good: %+v", b.Status)
		}
		if o.in.Tried = clock; pruneWorks {
			o.in.Tried, o.st.PruneAfter = time.Time{}, ""
		}
	case Forget:
		for _, b := range o.a.Old {
			if x := w.objects[b.Name]; x != nil {
				if !Ended(*x) {
					t.Fatalf("%s is deleted and runs", b.Name)
				}
				delete(w.objects, b.Name)
				w.forgot[b.Name] = true
			}
		}
	case Nothing:
	}
	if o.version == w.version && !statusEqual(o.st, w.s.Status) {
		if l, n := w.s.Status.LastTime, o.st.LastTime; l != nil && n != nil && n.Before(l) {
			w.rewound = true
		}
		w.s.Status = o.st
		w.version++
	}
}

func (w *api) check(t *rapid.T) {
	running := 0
	for _, b := range w.objects {
		if !Ended(*b) {
			running++
		}
	}
	if running > 1 {
		t.Fatalf("%d run at once", running)
	}
	for n, times := range w.created {
		// A time comes again where a clock was set back by more than the slack, and it is taken again only if nothing is left
		// that tells of it: its object had been deleted. The other case is an object that somebody deleted by hand before
		// the operator had seen it, which is as if it had not been created.
		if times > 1 && !w.forgot[n] {
			t.Fatalf("%s was created %d times, and its object was never gone", n, times)
		}
		if times > 1 && !w.rewound && !w.unseen[n] {
			t.Fatalf("%s was created %d times, and no clock was set back", n, times)
		}
	}
}
