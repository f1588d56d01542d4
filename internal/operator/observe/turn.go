package observe

import (
	"sync"
	"time"
)

// Turn keeps controllers from restarting something at the same moment. The lock in etcd and the agents' look under it keep
// the quorum whoever acts; this keeps one controller from acting on a look that another's action has made old. Whoever has
// the turn keeps it until what it did is to be seen; whoever takes it next must have looked after that.
type Turn struct {
	mu    sync.Mutex
	taken bool
	ended time.Time
}

// Take gives the turn to one who looked at that time, and reports whether it is to be had. A nil one always is.
func (t *Turn) Take(looked time.Time) (done func(), ok bool) {
	if t == nil {
		return func() {}, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken || !looked.After(t.ended) {
		return nil, false
	}
	t.taken = true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.taken, t.ended = false, time.Now()
	}, true
}
