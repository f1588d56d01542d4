package keep

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestChoose(t *testing.T) {
	leader := Member{Name: "cp-1", ID: 1, Leader: 1, Applied: 100_000, Local: true}
	follower := Member{Name: "cp-2", ID: 2, Leader: 1, Applied: 99_990}
	own := Member{Name: "cp-3", ID: 3, Leader: 1, Applied: 99_980, Local: true}
	dark := Member{Name: "cp-4", Err: errors.New("does not answer")}
	learner := Member{Name: "cp-5", ID: 5, Leader: 1, Applied: 100_000, Learner: true}
	behind := Member{Name: "cp-6", ID: 6, Leader: 1, Applied: 10}
	lost := Member{Name: "cp-7", ID: 7, Applied: 99_000}
	corrupt := Member{Name: "cp-8", ID: 8, Leader: 1, Applied: 100_000, Alarms: []string{"CORRUPT on 8"}}
	for _, row := range []struct {
		name string
		ms   []Member
		want string
		says string
	}{
		{"a follower, not the leader", []Member{leader, follower}, "cp-2", "follower"},
		{"the follower on this node", []Member{leader, follower, own}, "cp-3", "on this node"},
		{"alone", []Member{leader}, "cp-1", "only member"},
		{"followers are dark", []Member{leader, dark}, "cp-1", "no follower is healthy"},
		{"a learner is no follower", []Member{leader, learner}, "cp-1", ""},
		{"one far behind is worse than the leader", []Member{leader, behind}, "cp-1", ""},
		{"no quorum", []Member{lost, dark}, "cp-7", "no leader"},
		{"a damaged one never", []Member{corrupt, dark}, "", "CORRUPT"},
		{"nobody", nil, "", "no member is known"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, why, err := Choose(row.ms)
			if m.Name != row.want || (err == nil) != (row.want != "") {
				t.Fatalf("%s, %s, %v", m.Name, why, err)
			}
			if err != nil {
				why = err.Error()
			}
			if !strings.Contains(why, row.says) {
				t.Fatalf("%q does not say %q", why, row.says)
			}
		})
	}
}

// A member that did not answer, a learner and a damaged one are never chosen (I23).
func TestChooseNever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Member {
			m := Member{
				Name: rapid.StringN(1, 3, 3).Draw(t, "name"), ID: rapid.Uint64Range(1, 4).Draw(t, "id"), Leader: rapid.Uint64Range(0, 4).Draw(t, "leader"),
				Applied: rapid.Uint64Range(0, 20_000).Draw(t, "applied"), Learner: rapid.Bool().Draw(t, "learner"), Local: rapid.Bool().Draw(t, "local"),
			}
			if rapid.Bool().Draw(t, "dark") {
				m.Err = errors.New("dark")
			}
			if rapid.Bool().Draw(t, "corrupt") {
				m.Alarms = []string{"CORRUPT on 1"}
			}
			return m
		})).Draw(t, "members")
		m, why, err := Choose(ms)
		if err == nil && (m.Err != nil || m.Learner || len(m.Alarms) > 0 || why == "") {
			t.Fatalf("%+v: %s", m, why)
		}
	})
}
