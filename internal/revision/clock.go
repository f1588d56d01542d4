package revision

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Now reads this machine's clocks.
func Now() Clock {
	c := Clock{Now: time.Now()}
	if raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		c.Boot = strings.TrimSpace(string(raw))
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err == nil {
		c.Uptime = time.Duration(t.Nano())
	}
	return c
}
