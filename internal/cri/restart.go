package cri

import (
	"context"
	"fmt"
	"time"
)

// Restart stops the containers of a static pod that run now, once each; the kubelet, whose manifest stays, starts them anew.
// It returns when the runtime says that they are stopped.
func (r *Runtime) Restart(ctx context.Context, static string, grace time.Duration) error {
	cs, err := r.List(ctx)
	if err != nil {
		return err
	}
	for _, c := range RunningStatic(cs, static) {
		if err := r.stop(ctx, c.ID, grace); err != nil {
			return fmt.Errorf("stop container %s of pod %s: %w", c.Name, c.Pod, err)
		}
	}
	return nil
}
