package upgrade

import (
	"strings"
	"testing"

	"clusteretcd.io/ceo/internal/etcd"
)

// view is three healthy members of one cluster version.
func view(cluster, target string, versions ...string) View {
	v := View{ClusterVersion: cluster, Target: target, Snapshot: true}
	for i, x := range versions {
		id := uint64(i) + 1
		v.Cluster.Members = append(v.Cluster.Members, etcd.Member{ID: id, Name: "cp-" + string(rune('1'+i)), Health: etcd.Healthy})
		v.Members = append(v.Members, Member{id, x})
	}
	return v
}

func with(v View, change func(*View)) View { change(&v); return v }

func TestNext(t *testing.T) {
	three := func(target string) View { return view("3.6.0", target, "3.6.6", "3.6.6", "3.6.6") }
	for name, c := range map[string]struct {
		view   View
		kind   Kind
		reason string
	}{
		"nothing to do":             {three("3.6.6"), Done, "every member runs 3.6.6"},
		"a tag as images have it":   {three("v3.6.6-0"), Done, "every member runs 3.6.6"},
		"a patch":                   {three("3.6.7"), Roll, "is one step"},
		"a patch back":              {three("3.6.5"), Roll, "is one step"},
		"a minor":                   {three("3.7.3"), Roll, "is one step"},
		"no snapshot yet":           {with(three("3.7.3"), func(v *View) { v.Snapshot = false }), Snapshot, "no way back"},
		"no snapshot for a patch":   {with(three("3.6.7"), func(v *View) { v.Snapshot = false }), Snapshot, "no way back"},
		"P23: too old a 3.5":        {view("3.5.0", "3.6.6", "3.5.26", "3.5.24", "3.5.26"), Refuse, "cp-2 runs 3.5.24, and 3.6 may come only after 3.5.26"},
		"P23: new enough":           {view("3.5.0", "3.6.6", "3.5.26", "3.5.26", "3.5.27"), Roll, "is one step"},
		"P23: within 3.5":           {view("3.5.0", "3.5.26", "3.5.9", "3.5.9"), Roll, "is one step"},
		"two minors at once":        {view("3.5.0", "3.7.3", "3.5.26"), Refuse, "set spec.etcd.version to a 3.6 first"},
		"I22: a downgrade":          {view("3.7.0", "3.6.6", "3.7.3"), Refuse, "a downgrade is refused"},
		"back while it is mixed":    {view("3.6.0", "3.6.6", "3.7.3", "3.6.6", "3.6.6"), Roll, "is one step"},
		"a straggler of two before": {view("3.6.0", "3.7.3", "3.6.6", "3.5.26"), Refuse, "more than one minor version later"},
		"a version unknown to ceo":  {three("3.8.0"), Refuse, "not one of 3.5 to 3.7"},
		"another major":             {three("4.0.0"), Refuse, "not one of 3.5 to 3.7"},
		"no version":                {three("latest"), Refuse, "not of the form"},
		"half a version":            {three("3.6"), Refuse, "not of the form"},
		"a negative version":        {three("3.-6.1"), Refuse, "not of the form"},
		"I23: a member is silent":   {view("3.6.0", "3.7.3", "3.6.6", "", "3.6.6"), Wait, "the version of cp-2 is not known"},
		"no cluster version yet":    {view("", "3.7.3", "3.6.6"), Wait, "cluster's version is not known"},
		"no member":                 {view("3.6.0", "3.7.3"), Wait, "no member"},
		"not all are healthy":       {with(three("3.7.3"), func(v *View) { v.Cluster.Members[0].Health = etcd.Unknown }), Wait, "2 of 3 voters"},
		"I7: a learner":             {with(three("3.7.3"), func(v *View) { v.Cluster.Members[0].Learner = true }), Wait, "a learner"},
		"an alarm":                  {with(three("3.7.3"), func(v *View) { v.Alarms = []string{"NOSPACE on cp-1"} }), Wait, "NOSPACE on cp-1"},
		"begun, one is down":        {with(view("3.6.0", "3.7.3", "3.7.3", "", "3.6.6"), func(v *View) { v.Begun = true; v.Cluster.Members[1].Health = etcd.Unhealthy }), Roll, "has begun"},
		"begun and finished":        {with(view("3.7.0", "3.7.3", "3.7.3"), func(v *View) { v.Begun = true }), Done, "every member"},
		"the cluster version lags":  {view("3.6.0", "3.7.3", "3.7.3", "3.7.3"), Wait, "about to raise"},
		"P17: a recovery is open":   {with(three("3.7.3"), func(v *View) { v.Cluster.Pause.Recovery = "r-1" }), Wait, "recovery r-1"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := Next(c.view); a.Kind != c.kind || !strings.Contains(a.Reason, c.reason) {
				t.Errorf("got %+v, want %s because %q", a, c.kind, c.reason)
			}
		})
	}
}
