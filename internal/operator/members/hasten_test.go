package members

import (
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/etcd"
)

// I8: while a change is under way the looks are close together, so that a learner that is promoted is no more than a second
// behind; at rest, and where nothing comes of it, they are not.
func TestHastened(t *testing.T) {
	for name, row := range map[string]struct {
		kind etcd.Kind
		made time.Duration
		want bool
	}{
		"a learner catches up":               {etcd.Wait, 3 * time.Second, true},
		"the next one is to be added":        {etcd.AddLearner, time.Second, true},
		"a learner's machine does not start": {etcd.Wait, underWay, false},
		"all is as it should be":             {etcd.Settled, time.Second, false},
		"no change was made yet":             {etcd.Wait, time.Since(time.Time{}), false},
		"the clock jumped back":              {etcd.Wait, -time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := hastened(etcd.Action{Kind: row.kind}, row.made); got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}
