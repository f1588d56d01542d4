package cri

import (
	"context"
	"fmt"
	"time"
)

// StopThese stops the containers with these ids, and no others: one that the kubelet has started meanwhile stays.
func (r *Runtime) StopThese(ctx context.Context, ids []string, grace time.Duration) error {
	for _, id := range ids {
		if err := r.stop(ctx, id, grace); err != nil {
			return fmt.Errorf("stop container %s: %w", id, err)
		}
	}
	return nil
}
