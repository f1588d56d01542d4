package install

import (
	"context"
	"time"

	"clusteretcd.io/ceo/internal/cri"
	"clusteretcd.io/ceo/internal/staticpod"
)

// noticed is what the kubelet gets to see a manifest that was renamed into place, before the pod of before is ended: it would
// start that one again.
const noticed = time.Second

// putServersBack gives kube-apiserver the list that it had before ceo changed it, and waits until it is ready with it.
func (r *run) putServersBack(ctx context.Context) error {
	want, err := staticpod.OriginalServers(r.o.Paths)
	if err != nil || want == nil {
		return err
	}
	cs, err := r.runtime.List(ctx)
	if err != nil {
		return err
	}
	old := map[string]bool{}
	var ids []string
	for _, c := range cri.RunningStatic(cs, apiServerPod) {
		old[c.ID], ids = true, append(ids, c.ID)
	}
	if err := staticpod.Place(r.o.Paths.Manifests(), staticpod.APIServerFile, want); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(noticed):
	}
	// The kubelet would give it half a minute to end. That it is not ended here costs that, and nothing else.
	if err := r.runtime.StopThese(ctx, ids, stopGrace); err != nil {
		r.o.Progress("%s: kube-apiserver is not ended (%v): the kubelet does it", r.host.self.Name, err)
	}
	if err := r.replaced(ctx, apiServerPod, old, restartLimit); err != nil {
		return err
	}
	return r.apiServerBack(ctx)
}
