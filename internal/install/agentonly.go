package install

import (
	"context"
	"fmt"
)

// InstallAgent does the part of Install that restarts no etcd: certificates, node.json, the agent's static pod. Etcd's
// manifest stays as it is.
func InstallAgent(ctx context.Context, o Options) (Plan, error) {
	if o.Image == "" {
		return Plan{}, fmt.Errorf("no image of ceo is named")
	}
	o.agentOnly = true
	return perform(ctx, o, "ceo node keep", DecideAgent)
}

// DecideAgent is DecideInstall without etcd: nothing is restarted, so nothing has to be asked of the quorum.
func DecideAgent(f Facts, _ bool) (Plan, error) {
	f.EtcdCurrent = true
	return DecideInstall(f, false)
}
