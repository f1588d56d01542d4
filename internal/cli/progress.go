package cli

import (
	"fmt"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/backup/keep"
	"clusteretcd.io/ceo/internal/cli/ui"
)

// progressEvery is how often a line on a terminal changes.
const progressEvery = 200 * time.Millisecond

// phases shows what is being done: on a terminal one line that changes, with
// bytes, rate and the time left; else a line for each phase.
func (s Streams) phases() keep.Progress {
	terminal := isTerminal(s.Err)
	var mu sync.Mutex
	var phase string
	var begun, last time.Time
	return func(p string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if p != phase {
			if terminal && phase != "" {
				_, _ = fmt.Fprintln(s.Err)
			}
			phase, begun, last = p, now, time.Time{}
			if !terminal {
				s.say("%s", p)
			}
		}
		if !terminal || now.Sub(last) < progressEvery && done != total {
			return
		}
		last = now
		_, _ = fmt.Fprintf(s.Err, "\r\033[K%s", ui.Transfer(p, done, total, now.Sub(begun)))
	}
}
