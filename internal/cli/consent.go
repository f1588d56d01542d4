package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"clusteretcd.io/ceo/internal/cli/ui"
	"clusteretcd.io/ceo/internal/recovery"
)

// Risks are the names of what a plan may ask consent for.
func Risks() []string { return recovery.Risks() }

// consent gets a person's word, or checks a script's. The agent checks it again
// against the plan as it is then (I14).
func (r *recoverer) consent(ctx context.Context, p ui.Plan) error {
	if !r.o.Yes {
		if !isTerminal(r.s.In) || !isTerminal(r.s.Err) {
			return exitf(ExitRefused, "nobody can be asked here, as this is no terminal; if the plan above is what you want, type:\n  %s", r.command(p))
		}
		return r.ask(ctx, p)
	}
	return unmet(p, r.o.Confirm, r.o.Accept)
}

// unmet says which consent is missing; it is pure.
func unmet(p ui.Plan, confirm string, accepted []string) error {
	switch confirm {
	case p.Cluster:
	case "":
		return exitf(ExitRefused, "--yes needs the cluster's name: add --confirm-cluster=%s if that is the one you mean", p.Cluster)
	default:
		return exitf(ExitRefused, "this is cluster %q, and %q was confirmed: give --confirm-cluster=%s if that is the one you mean", p.Cluster, confirm, p.Cluster)
	}
	for _, k := range p.Risks {
		if !slices.Contains(accepted, k.Name) {
			return exitf(ExitRefused, "%s; if you accept that, add --accept-risk=%s", k.Text, k.Name)
		}
	}
	return nil
}

// command is the same with the consent in it.
func (r *recoverer) command(p ui.Plan) string {
	args := []string{r.s.Name, "recover"}
	if !r.o.Target.local() {
		args = append(args, "--agent", quote(r.o.Target.Agent))
	}
	if r.o.From != "" {
		args = append(args, "--from", quote(r.o.From))
	}
	if r.o.SkipHashCheck {
		args = append(args, "--skip-hash-check")
	}
	args = append(args, "--yes", "--confirm-cluster="+quote(p.Cluster))
	for _, k := range p.Risks {
		args = append(args, "--accept-risk="+k.Name)
	}
	return strings.Join(args, " ")
}

// quote for a shell, where it needs it.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,", c)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ask has the names typed: a y would be typed by habit.
func (r *recoverer) ask(ctx context.Context, p ui.Plan) error {
	if r.o.Confirm != p.Cluster {
		if err := r.typed(ctx, "the cluster's name to go on", p.Cluster); err != nil {
			return err
		}
		r.o.Confirm = p.Cluster
	}
	for _, k := range p.Risks {
		if slices.Contains(r.o.Accept, k.Name) {
			continue
		}
		r.s.say("\n%s", k.Text)
		if err := r.typed(ctx, k.Name+" to accept that", k.Name); err != nil {
			return err
		}
		r.o.Accept = append(r.o.Accept, k.Name)
	}
	r.begun = time.Now()
	return nil
}

func (r *recoverer) typed(ctx context.Context, what, want string) error {
	_, _ = fmt.Fprintf(r.s.Err, "Type %s: ", what)
	got, err := r.s.line(ctx)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(got) != want {
		return exitf(ExitRefused, "%q is not %q: nothing was changed", strings.TrimSpace(got), want)
	}
	return nil
}
