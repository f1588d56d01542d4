package slots

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/api/v1alpha1"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func parse(t interface{ Fatal(...any) }, spec string) Slots {
	s, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNextAndLast(t *testing.T) {
	for _, tt := range []struct{ name, spec, now, next, last string }{
		{"every half hour", "*/30 * * * *", "2026-11-27T10:10:00Z", "2026-11-27T10:30:00Z", "2026-11-27T10:00:00Z"},
		{"on the slot", "0 3 * * *", "2026-11-27T03:00:00Z", "2026-11-28T03:00:00Z", "2026-11-27T03:00:00Z"},
		{"the night in which Europe goes to summer time", "30 1 * * *", "2027-03-28T02:00:00Z", "2027-03-29T01:30:00Z", "2027-03-28T01:30:00Z"},
		{"and back", "30 1 * * *", "2027-10-31T02:00:00Z", "2027-11-01T01:30:00Z", "2027-10-31T01:30:00Z"},
		{"another zone's time is turned into UTC", "0 3 * * *", "2026-11-27T05:30:00+05:30", "2026-11-27T03:00:00Z", "2026-11-26T03:00:00Z"},
		{"@weekly is Sunday", "@weekly", "2026-11-27T10:00:00Z", "2026-11-29T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"days of the month or of the week", "0 0 1 * MON", "2026-11-27T10:00:00Z", "2026-11-30T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"a leap day", "0 0 29 2 *", "2026-11-27T10:00:00Z", "2028-02-29T00:00:00Z", "2024-02-29T00:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, tt.spec)
			if got := s.Next(at(tt.now)); !got.Equal(at(tt.next)) {
				t.Errorf("next: %s", got)
			}
			if got := s.Last(time.Time{}, at(tt.now)); !got.Equal(at(tt.last)) {
				t.Errorf("last: %s", got)
			}
			if got := s.Last(at(tt.last), at(tt.now)); !got.IsZero() {
				t.Errorf("after the last: %s", got)
			}
		})
	}
	for _, spec := range []string{"", "* * * *", "@every 1s", "TZ=Europe/Berlin 0 3 * * *", "CRON_TZ=Asia/Tokyo 0 3 * * *", "@yearly", "* * * * * *"} {
		if _, err := Parse(spec); err == nil {
			t.Errorf("%q is taken", spec)
		}
	}
}

func TestLastIsTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := parse(t, rapid.SampledFrom([]string{"* * * * *", "*/7 * * * *", "0 3 * * *", "15 4 1 * MON", "@monthly"}).Draw(t, "spec"))
		from := at("2026-01-01T00:00:00Z").Add(time.Duration(rapid.IntRange(0, 400*24*60).Draw(t, "from")) * time.Minute)
		now := from.Add(time.Duration(rapid.IntRange(-5, 2*24*60).Draw(t, "after")) * time.Minute)
		var want time.Time
		for n := s.Next(from); !n.After(now); n = s.Next(n) {
			want = n
		}
		if got := s.Last(from, now); !got.Equal(want) {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func TestGapAndProofAge(t *testing.T) {
	yes := true
	for _, tt := range []struct {
		name, spec string
		prove      v1alpha1.ProveSpec
		gap, age   time.Duration
	}{
		{"hourly, weekly", "@hourly", v1alpha1.ProveSpec{Policy: v1alpha1.ProveWeekly}, time.Hour, Week - slack + day},
		{"daily, weekly", "@daily", v1alpha1.ProveSpec{}, day, Week + 2*day},
		{"hourly, every sixth", "@hourly", v1alpha1.ProveSpec{Policy: v1alpha1.ProveEveryNth, Every: 6}, time.Hour, 30 * time.Hour},
		{"office hours", "0 8-18 * * *", v1alpha1.ProveSpec{Policy: v1alpha1.ProveEveryNth, Every: 1}, 14 * time.Hour, 42 * time.Hour},
		{"weekly", "@weekly", v1alpha1.ProveSpec{Policy: v1alpha1.ProveWeekly}, Week, 3 * Week},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := parse(t, tt.spec).Gap(); got != tt.gap {
				t.Errorf("gap %s", got)
			}
			if got, ok := ProofAge(v1alpha1.EtcdBackupScheduleSpec{Schedule: tt.spec, Prove: tt.prove}); !ok || got != tt.age {
				t.Errorf("age %s", got)
			}
		})
	}
	for _, s := range []v1alpha1.EtcdBackupScheduleSpec{
		{Schedule: "@daily", Prove: v1alpha1.ProveSpec{Policy: v1alpha1.ProveNever}},
		{Schedule: "@daily", Suspend: &yes},
		{Schedule: "nonsense"},
	} {
		if age, ok := ProofAge(s); ok {
			t.Errorf("%+v: %s", s, age)
		}
	}
}

func TestProofDue(t *testing.T) {
	due := at("2026-11-27T03:00:00Z")
	weekly, third := v1alpha1.ProveSpec{Policy: v1alpha1.ProveWeekly}, v1alpha1.ProveSpec{Policy: v1alpha1.ProveEveryNth, Every: 3}
	for _, tt := range []struct {
		name  string
		p     v1alpha1.ProveSpec
		begun time.Time
		since int32
		want  bool
	}{
		{"weekly, never proven", weekly, time.Time{}, 4, true},
		{"weekly, yesterday", weekly, due.Add(-day), 1, false},
		{"weekly, begun some seconds after the slot a week ago", weekly, due.Add(-Week + 5*time.Second), 7, true},
		{"weekly, six days", weekly, due.Add(-6 * day), 7, false},
		{"weekly, the proof is of a time to come", weekly, due.Add(90 * day), 7, true},
		{"every third, the second", third, due.Add(-day), 1, false},
		{"every third, the third", third, due.Add(-day), 2, true},
		{"every third, never proven", third, time.Time{}, 0, true},
		{"never", v1alpha1.ProveSpec{Policy: v1alpha1.ProveNever}, time.Time{}, 99, false},
	} {
		if got := ProofDue(tt.p, due, tt.begun, tt.since); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
