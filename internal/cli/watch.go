package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/cli/ui"
)

// pace is how long a watch waits for what.
type pace struct {
	// back is how long a restart of the agent is waited for: the kubelet's
	// back-off for a container that died several times grows to five minutes.
	back  time.Duration
	retry time.Duration
	// quiet: a stream that is silent for so long is opened anew. It costs
	// little, and one that an agent opened while it was starting may be of a
	// journal that nobody writes to any more.
	quiet time.Duration
	// dark is how often it is looked whether only dark nodes remain.
	dark time.Duration
}

var usualPace = pace{back: 6 * time.Minute, retry: 300 * time.Millisecond, quiet: 3 * time.Second, dark: 2 * time.Second}

// darkLooks: so many looks in a row make a node dark that was not when the plan
// was made; one lost packet does not.
const darkLooks = 3

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// watching is one watch of a recovery, over any number of streams.
type watching struct {
	*recoverer
	id       string
	last     *agentpb.Recovery
	progress *ui.Progress
	dark     darkness
}

// watch shows a recovery until it ends, stops, or waits for dark nodes alone.
func (r *recoverer) watch(ctx context.Context, rec *agentpb.Recovery, planned map[string]bool, begun time.Time) error {
	w := &watching{recoverer: r, id: rec.GetId(), last: rec, progress: ui.NewProgress(begun), dark: darkness{planned: planned}}
	silentSince := time.Time{}
	for {
		enough, err := w.stream(ctx)
		switch {
		case ctx.Err() != nil:
			r.s.say("the recovery goes on by itself; watch it again with `%s recover --resume`", r.s.Name)
			return ctx.Err()
		case enough:
			return w.end()
		case err == nil:
			silentSince = time.Time{}
			// The agent answers; a pause, so that one that ends each stream at
			// once is not asked without end. That ctx ended is said at the top.
			_ = pause(ctx, r.pace.retry)
			continue
		case !gone(err):
			return err
		}
		if silentSince.IsZero() {
			silentSince = time.Now()
			r.s.say("%s does not answer (%s): the recovery goes on when it is back; waiting up to %s", r.o.Target.name(), cause(err), r.pace.back)
		}
		if time.Since(silentSince) > r.pace.back {
			return fmt.Errorf("recovery %s is not over, and its agent is not back after %s; when it is, watch it with `%s recover --resume`: %w", w.id, r.pace.back, r.s.Name, r.o.Target.unanswered(err))
		}
		if err := pause(ctx, r.pace.retry); err != nil {
			continue // said at the top
		}
	}
}

// gone: the agent, not the recovery.
func gone(err error) bool {
	return silentAgent(err) || status.Code(err) == codes.Canceled || errors.Is(err, io.ErrUnexpectedEOF)
}

// stream watches over one connection; enough is true where nothing more is
// waited for.
func (w *watching) stream(ctx context.Context) (enough bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := w.agent.WatchRecovery(ctx, &agentpb.WatchRecoveryRequest{Id: w.id})
	if err != nil {
		return false, err
	}
	type received struct {
		e   *agentpb.RecoveryEvent
		err error
	}
	events := make(chan received)
	go func() {
		for {
			e, err := s.Recv()
			select {
			case events <- received{e, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	quiet := time.NewTimer(w.pace.quiet)
	defer quiet.Stop()
	look := time.NewTicker(w.pace.dark)
	defer look.Stop()
	for n := 0; ; {
		select {
		case got := <-events:
			if errors.Is(got.err, io.EOF) {
				return over(w.last.GetState()), nil
			}
			if got.err != nil {
				return false, got.err
			}
			quiet.Reset(w.pace.quiet)
			// A new stream tells all from the beginning.
			if n++; n <= w.progress.Seen() {
				w.last = got.e.GetRecovery()
				continue
			}
			if err := w.show(got.e); err != nil {
				return false, err
			}
			if w.reached(got.e) {
				return true, nil
			}
		case <-quiet.C:
			return w.onlyDark(ctx), nil
		case <-look.C:
			if w.onlyDark(ctx) {
				return true, nil
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func over(state string) bool { return state == "done" || state == "aborted" || state == "failed" }

// reached the end of what was asked to be followed.
func (w *watching) reached(e *agentpb.RecoveryEvent) bool {
	return w.o.Follow == UntilAPI && e.GetKind() == "done" && e.GetStep() == "control-plane"
}

func (w *watching) show(e *agentpb.RecoveryEvent) error {
	w.last = e.GetRecovery()
	ev := w.progress.Add(e)
	if w.o.Format == JSON {
		if err := json.NewEncoder(w.s.Out).Encode(ev); err != nil {
			return fmt.Errorf("write the event: %w", err)
		}
		return nil
	}
	if _, err := io.WriteString(w.s.Out, w.progress.Line(ev, style(w.s.Out))); err != nil {
		return fmt.Errorf("write the event: %w", err)
	}
	return nil
}

// onlyDark looks whether nothing but nodes that do not answer is waited for.
func (w *watching) onlyDark(ctx context.Context) bool {
	if w.o.Wait || w.last.GetState() != "joining" {
		return false
	}
	ob, err := observe(ctx, w.agent)
	if err != nil {
		return false
	}
	silent := map[string]bool{}
	for _, n := range ob.GetNodes() {
		silent[n.GetName()] = n.GetUnreachable() != ""
	}
	return w.dark.only(w.last.GetWaitingFor(), silent)
}

// darkness remembers how often a node was silent.
type darkness struct {
	planned map[string]bool
	looks   map[string]int
}

// only reports whether all that is waited for is dark: it did not answer now,
// nor when the plan was made, or for several looks in a row.
func (d *darkness) only(waiting []string, silent map[string]bool) bool {
	if d.looks == nil {
		d.looks = map[string]int{}
	}
	all := len(waiting) > 0
	for _, n := range waiting {
		if !silent[n] {
			d.looks[n] = 0
			all = false
			continue
		}
		d.looks[n]++
		if !d.planned[n] && d.looks[n] < darkLooks {
			all = false
		}
	}
	return all
}

// end says how it ended and what to do.
func (w *watching) end() error {
	rec, timeline := w.last, w.progress.Timeline()
	if w.o.Format == JSON {
		out := ui.Outcome{ID: rec.GetId(), State: rec.GetState(), Step: rec.GetStep(), Error: rec.GetError(), WaitingFor: rec.GetWaitingFor(), Timeline: timeline}
		if err := json.NewEncoder(w.s.Out).Encode(out); err != nil {
			return fmt.Errorf("write the outcome: %w", err)
		}
	} else if _, err := io.WriteString(w.s.Out, ui.TimelineText(timeline)); err != nil {
		return fmt.Errorf("write the time-line: %w", err)
	}
	me := w.s.Name
	switch rec.GetState() {
	case "done", "aborted":
		w.s.say("recovery %s is %s", rec.GetId(), rec.GetState())
		return nil
	case "failed":
		text := fmt.Sprintf("recovery %s stopped at step %s: %s\nGo on with `%s recover --resume` once that is mended", rec.GetId(), rec.GetStep(), rec.GetError(), me)
		return exitf(ExitFailed, "%s, or take it back with `%s recover --abort` (up to the point of no return)", text, me)
	case "joining":
		if w.o.Follow == UntilAPI {
			break
		}
		nodes := strings.Join(rec.GetWaitingFor(), ", ")
		w.s.say("the cluster serves; recovery %s stays open by itself for %s: boot it and it joins without a further command", rec.GetId(), nodes)
		for _, n := range rec.GetWaitingFor() {
			w.s.say("if %s will not come back: %s recover --let-go %s", n, me, n)
		}
		return silent(ExitPartial)
	}
	w.s.say("the API answers; recovery %s goes on by itself: watch it with `%s recover --resume`", rec.GetId(), me)
	return nil
}
