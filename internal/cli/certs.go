package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"clusteretcd.io/ceo/api/v1alpha1"
	"clusteretcd.io/ceo/internal/cli/ui"
	"clusteretcd.io/ceo/internal/kubeapi"
)

// CertsOptions of `ceo certs status`.
type CertsOptions struct {
	Target Target
	Format Format
}

// CertsStatus shows every node's certificates. It asks agents alone.
func CertsStatus(ctx context.Context, s Streams, o CertsOptions) error {
	ob, _, err := look(ctx, o.Target)
	if err != nil {
		return err
	}
	v := ui.Certs(ob, time.Now())
	if err := s.show(o.Format, v, func() string { return ui.CertsText(v, style(s.Out)) }); err != nil {
		return err
	}
	if v.Due > 0 {
		return silent(ExitNotHealthy)
	}
	return nil
}

// RotateCAOptions of `ceo certs rotate-ca`.
type RotateCAOptions struct {
	Target     Target
	Format     Format
	Kubeconfig string
	Reason     string
	DryRun     bool
	Yes        bool
	Confirm    string
	// Wait follows the change until it is over, at most for Timeout.
	Wait    bool
	Timeout time.Duration

	// look is how often is looked, which tests shorten.
	look time.Duration
}

// rotateOwner owns the field that it writes.
const rotateOwner = "ceo"

// oneReason checks a reason that goes into the specification.
func oneReason(reason, example string) (string, error) {
	reason = strings.TrimSpace(reason)
	switch {
	case reason == "":
		return "", exitf(ExitFailed, "--reason is empty: say what it is for, e.g. --reason '%s'", example)
	case len(reason) > maxReason:
		return "", exitf(ExitFailed, "--reason has %d bytes, and %d are the most", len(reason), maxReason)
	case strings.ContainsAny(reason, "\n\r\x00"):
		return "", exitf(ExitFailed, "--reason must be one line")
	}
	return reason, nil
}

// RotateCA has etcd's CA changed: it writes spec.tls.caRotationReason, and the operator does it. The plan, and the cluster's
// name, are of the agents; what was done is shown of them as well, as the API servers are restarted meanwhile.
func RotateCA(ctx context.Context, s Streams, o RotateCAOptions) error {
	var err error
	if o.Reason, err = oneReason(o.Reason, "yearly"); err != nil {
		return err
	}
	ob, _, err := look(ctx, o.Target)
	if err != nil {
		return err
	}
	p := ui.PlanCA(ob, o.Reason)
	if err := s.show(o.Format, p, func() string { return ui.CAPlanText(p) }); err != nil {
		return err
	}
	switch {
	case p.Done:
		return nil
	case len(p.Refused) > 0 && !p.UnderWay:
		return silent(ExitRefused)
	case o.DryRun:
		return silent(ExitNotHealthy) // changes pending
	}
	api, err := kubeapi.Open(Kubeconfig(o.Kubeconfig))
	if err != nil {
		return err
	}
	now := &v1alpha1.EtcdCluster{}
	if err := api.Get(ctx, clusterPath, now); err != nil {
		return redeployFailed(err)
	}
	if now.Spec.ManagementState == v1alpha1.Unmanaged {
		return exitf(ExitNotHealthy, "spec.managementState is Unmanaged: nothing is changed until it is Managed")
	}
	if now.Spec.TLS.CARotationReason != o.Reason {
		if err := consentTo(ctx, s, p.Cluster, o.Yes, o.Confirm); err != nil {
			return err
		}
		patch := map[string]any{"spec": map[string]any{"tls": map[string]any{"caRotationReason": o.Reason}}}
		if err := api.Merge(ctx, clusterPath, patch, rotateOwner, now); err != nil {
			return redeployFailed(err)
		}
	}
	if !o.Wait {
		s.say("the change is asked for; see `%s certs status`", s.Name)
		return nil
	}
	return s.followCA(ctx, o)
}

// consentTo asks a person for the cluster's name, or takes what was given for it.
func consentTo(ctx context.Context, s Streams, cluster string, yes bool, confirm string) error {
	return adoption{s: s, o: AdoptOptions{Yes: yes, Confirm: confirm}}.consentTo(ctx, cluster)
}

// followCA looks at the agents until every node has the new CA alone, or the time is over.
func (s Streams) followCA(ctx context.Context, o RotateCAOptions) error {
	if o.look == 0 {
		o.look = lookEvery
	}
	waiting, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	said := ""
	for {
		line := "waiting for the operator to take it up"
		ob, _, err := look(waiting, o.Target)
		if err != nil {
			line = "no agent answers: " + reason(err)
		} else {
			if ui.PlanCA(ob, o.Reason).Done {
				s.say("every node trusts and shows the new CA alone")
				return nil
			}
			if c := ui.Certs(ob, time.Now()).Change; c != nil {
				line = c.Phase + ": " + c.Next
			}
		}
		if line != said && waiting.Err() == nil {
			s.say("%s", line)
			said = line
		}
		select {
		case <-waiting.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("the change goes on without this command: %w", ctx.Err())
			}
			return exitf(ExitPartial, "the change is not over after %s (%s); it goes on: run this again to follow it", o.Timeout, said)
		case <-time.After(o.look):
		}
	}
}
