//go:build e2e

package e2e

import (
	"testing"
	"time"

	"clusteretcd.io/ceo/test/harness"
)

// Story 6: the kubelet's worst cases (P10). P18: a restore after a restore.
func Test3KubeletRestartedWhileTheAPIWasDown(t *testing.T) {
	ctx := testContext(t, 15*time.Minute)
	whole(ctx, t)
	acks, b := disaster(ctx, t, "r3")
	_, err := lab.Lab(ctx, "kubelet", "1", "restart")
	must(t, err)
	res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("unreachable-quorum"), "--from", snapshotPath)...)
	must(t, err)
	t.Log(res.Out + res.Err)
	recovered(ctx, t, acks, b)
	joined(ctx, t)
	recovered(ctx, t, acks, b)
}

func Test3KubeletStopped(t *testing.T) {
	ctx := testContext(t, 15*time.Minute)
	whole(ctx, t)
	acks, b := disaster(ctx, t, "r4")
	_, err := lab.Lab(ctx, "kubelet", "1", "stop")
	must(t, err)
	res, err := lab.Recover(ctx, "cp-1", append(harness.Consent("unreachable-quorum"), "--from", snapshotPath)...)
	must(t, err)
	t.Log(res.Out + res.Err)
	recovered(ctx, t, acks, b)
	joined(ctx, t)
	recovered(ctx, t, acks, b)
}
