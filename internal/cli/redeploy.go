package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/kubeapi"
)

// DefaultKubeconfig is where kubeadm puts the administrator's.
const DefaultKubeconfig = "/etc/kubernetes/admin.conf"

// RedeployOptions of the verb.
type RedeployOptions struct {
	Kubeconfig string
	Reason     string
	// Wait follows the roll-out until it is over, at most for Timeout.
	Wait    bool
	Timeout time.Duration
	Format  Format

	// look is how often is looked, which tests shorten.
	look time.Duration
}

// Redeployed is what `ceo redeploy -o json` writes.
type Redeployed struct {
	Reason string `json:"reason"`
	// Changed: the reason was another one before, so a roll-out begins.
	Changed bool                    `json:"changed"`
	Rollout *v1alpha1.RolloutStatus `json:"rollout,omitempty"`
	// Over: the roll-out for this reason was seen to be complete. Only with --wait.
	Over bool `json:"over"`
}

const (
	maxReason = 256
	lookEvery = 2 * time.Second
	// redeployOwner owns the field that it writes.
	redeployOwner = "ceo"
)

// Redeploy has every member restarted, one at a time: it writes spec.forceRedeploymentReason, and the operator does it.
func Redeploy(ctx context.Context, s Streams, o RedeployOptions) error {
	var err error
	if o.Reason, err = oneReason(o.Reason, "new kernel"); err != nil {
		return err
	}
	c, err := kubeapi.Open(Kubeconfig(o.Kubeconfig))
	if err != nil {
		return err
	}
	before := &v1alpha1.EtcdCluster{}
	if err := c.Get(ctx, clusterPath, before); err != nil {
		return redeployFailed(err)
	}
	out := Redeployed{Reason: o.Reason, Changed: before.Spec.ForceRedeploymentReason != o.Reason, Rollout: before.Status.Rollout}
	now := before
	if out.Changed {
		now = &v1alpha1.EtcdCluster{}
		patch := map[string]any{"spec": map[string]any{"forceRedeploymentReason": o.Reason}}
		if err := c.Merge(ctx, clusterPath, patch, redeployOwner, now); err != nil {
			return redeployFailed(err)
		}
	} else {
		s.say("the reason was %q already: nothing new is begun; give another to restart the members again", o.Reason)
	}
	if now.Spec.ManagementState == v1alpha1.Unmanaged {
		return exitf(ExitNotHealthy, "the reason is written, but spec.managementState is Unmanaged: nothing is restarted until it is Managed")
	}
	if o.Wait {
		last, over, err := s.followRollout(ctx, c, o, now)
		out.Rollout, out.Over = last, over
		if err != nil {
			if o.Format == JSON {
				_ = s.show(JSON, out, nil) // the error is what counts
			}
			return err
		}
	}
	return s.show(o.Format, out, func() string { return redeployText(s, out, o.Wait) })
}

func redeployText(s Streams, out Redeployed, waited bool) string {
	switch {
	case out.Over:
		return fmt.Sprintf("redeployed: %s nodes run etcd anew (%s)\n", out.Rollout.Updated, out.Reason)
	case !out.Changed && !waited:
		return "nothing to do\n"
	}
	return fmt.Sprintf("the roll-out is asked for; the operator restarts one member at a time: `kubectl get etcdcluster cluster`, or `%s redeploy --wait`\n", s.Name)
}

func redeployFailed(err error) error {
	switch {
	case errors.Is(err, kubeapi.ErrNotFound):
		return exitf(ExitFailed, "there is no EtcdCluster here: the operator is not installed, or `cluster` was not made yet (%w)", err)
	case errors.Is(err, kubeapi.ErrRefused):
		return exitf(ExitRefused, "%w", err)
	}
	return err
}

// followRollout looks until the roll-out is over, stopped, or the time is. An API server that is gone for a moment is
// part of it: it is restarted along with its etcd.
func (s Streams) followRollout(ctx context.Context, c *kubeapi.Client, o RedeployOptions, now *v1alpha1.EtcdCluster) (*v1alpha1.RolloutStatus, bool, error) {
	if o.look == 0 {
		o.look = lookEvery
	}
	waiting, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	said, lost := "", error(nil)
	for {
		r := now.Status.Rollout
		// What the status says is of this spec only once the operator has seen it.
		seen := now.Status.ObservedGeneration >= now.Generation
		current := seen && r != nil
		switch {
		case seen && problem(now) != "":
			return r, false, exitf(ExitNotHealthy, "nothing is rolled out: %s", problem(now))
		case current && r.State == v1alpha1.RolloutComplete:
			return r, true, nil
		case current && r.State == v1alpha1.RolloutStopped:
			return r, false, exitf(ExitNotHealthy, "the roll-out stopped: %s", r.Message)
		}
		line := "waiting for the operator to take it up"
		if current {
			line = strings.TrimSpace(fmt.Sprintf("%s %s", r.Updated, r.Message))
		}
		if lost != nil {
			line = "the API server does not answer; waiting for it"
		}
		if line != said {
			s.say("%s", line)
			said = line
		}
		select {
		case <-waiting.Done():
			if ctx.Err() != nil {
				return r, false, ctx.Err()
			}
			return r, false, exitf(ExitPartial, "the roll-out is not over after %s (%s); it goes on: run this again to follow it", o.Timeout, line)
		case <-time.After(o.look):
		}
		next := &v1alpha1.EtcdCluster{}
		err := c.Get(waiting, clusterPath, next)
		var refused *kubeapi.Error
		switch {
		case err == nil:
			now, lost = next, nil
		case errors.As(err, &refused) && refused.Code < 500 && refused.Code != 429:
			return r, false, redeployFailed(err)
		default:
			lost = err
		}
	}
}

// problem is a spec that cannot work, in the operator's words.
func problem(c *v1alpha1.EtcdCluster) string {
	d := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionDegraded)
	if d == nil || d.Status != metav1.ConditionTrue {
		return ""
	}
	switch d.Reason {
	case v1alpha1.ReasonVersionUnknown, v1alpha1.ReasonVersionSkew, v1alpha1.ReasonQuotaBelowDatabase:
		return d.Message
	}
	return ""
}
