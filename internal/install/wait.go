package install

import (
	"context"
	"fmt"
	"time"
)

// again is how often a wait looks.
const again = 200 * time.Millisecond

// wait looks until there is no error, at most as long as said; it then says what it waited for and what it saw last.
func wait(ctx context.Context, what string, limit time.Duration, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, perMember)
		err := look(one)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s for %s: %w", what, limit, err)
		case <-time.After(again):
		}
	}
}
