package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/backup"
	"clusteretcd.io/ceo/internal/cli/ui"
	"clusteretcd.io/ceo/internal/snapshot"
)

// Follow says how long a run is watched. The recovery itself does not depend
// on being watched.
type Follow string

// The ends of watching.
const (
	UntilAPI  Follow = "until-api"
	UntilDone Follow = "until-done"
)

// RecoverOptions of the verb.
type RecoverOptions struct {
	Target Target
	Format Format
	// From is a snapshot's file on this machine; empty: the best in the node's
	// backup folder.
	From          string
	SkipHashCheck bool
	// Plan shows and changes nothing.
	Plan bool
	// Yes with Confirm and Accept is a script's consent.
	Yes     bool
	Confirm string
	Accept  []string
	Follow  Follow
	// Wait goes on watching when only dark nodes are waited for.
	Wait bool
}

// recoverer is one run of the verb.
type recoverer struct {
	s     Streams
	o     RecoverOptions
	agent agentpb.AgentClient
	// begun is when the person's part ended: what the time-line counts from.
	begun time.Time
	pace  pace
}

// Recover plans a recovery, asks for consent, starts it and watches it.
func Recover(ctx context.Context, s Streams, o RecoverOptions) error {
	r, closeConn, err := newRecoverer(s, o)
	if err != nil {
		return err
	}
	defer closeConn()
	what, err := r.source(ctx)
	if err != nil {
		return err
	}
	p, err := r.plan(ctx, what)
	if err != nil {
		return err
	}
	if o.Plan {
		return silent(ExitNotHealthy)
	}
	if err := r.consent(ctx, p); err != nil {
		return err
	}
	rec, err := r.start(ctx, what, p)
	if err != nil {
		return err
	}
	return r.watch(ctx, rec, p.Dark(), r.begun)
}

func newRecoverer(s Streams, o RecoverOptions) (*recoverer, func(), error) {
	conn, a, err := o.Target.connect()
	if err != nil {
		return nil, nil, err
	}
	return &recoverer{s: s, o: o, agent: a, begun: time.Now(), pace: usualPace}, func() { _ = conn.Close() }, nil
}

// plainName is what the agent takes for a file in its backup folder.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// source verifies the file that was named here, before anything is sent or
// asked, and brings it to the agent if it does not lie there already.
func (r *recoverer) source(ctx context.Context) (*agentpb.PlanRecoveryRequest, error) {
	req := &agentpb.PlanRecoveryRequest{SkipHashCheck: r.o.SkipHashCheck}
	if r.o.From == "" {
		return req, nil
	}
	if name, ok := backupName(r.o.From); ok {
		// The catalogue is the agent's: it has the store's address and its keys.
		req.Snapshot, req.SourceLabel = "backup:"+name, name
		return req, nil
	}
	path, err := filepath.Abs(r.o.From)
	if err != nil {
		return nil, fmt.Errorf("--from %s: %w", r.o.From, err)
	}
	if _, err := snapshot.Verify(ctx, path, snapshot.VerifyOptions{SkipHash: r.o.SkipHashCheck}); err != nil {
		return nil, fmt.Errorf("%w; nothing was changed; %s", err, whatNow(err))
	}
	req.SourceLabel = path
	if name := filepath.Base(path); r.o.Target.local() && filepath.Dir(path) == r.o.Target.Paths.Backups() && plainName.MatchString(name) && isRegular(path) {
		req.Snapshot = name
		return req, nil
	}
	info, err := client.PutSnapshot(ctx, r.agent, path, r.s.progress("sending the snapshot"))
	if err != nil {
		return nil, r.o.Target.unanswered(err)
	}
	req.Snapshot = info.GetSha256()
	return req, nil
}

// backupName tells a name in the catalogue from a file: latest, latest-proven,
// or what looks like a backup's id and is no file here.
func backupName(from string) (string, bool) {
	if from == backup.Latest || from == backup.LatestProven {
		return from, true
	}
	if _, err := os.Lstat(from); err == nil || !backup.LooksLikeID(from) {
		return "", false
	}
	return from, true
}

func isRegular(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular()
}

// whatNow is the way on from a bad snapshot.
func whatNow(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "look for snapshots with `ls -l /var/lib/etcd-backup`"
	case errors.Is(err, snapshot.ErrNoHash):
		return "if you know where it comes from, accept it with " + snapshot.SkipHashFlag
	case errors.Is(err, snapshot.ErrNotSnapshot):
		return "name a file that `ceo snapshot save` or `etcdctl snapshot save` wrote"
	}
	return "copy it again from where it was taken, or use another snapshot"
}

// plan gets the plan and shows it; a plan that is refused is an error.
func (r *recoverer) plan(ctx context.Context, what *agentpb.PlanRecoveryRequest) (ui.Plan, error) {
	got, err := r.agent.PlanRecovery(ctx, what)
	if err != nil {
		return ui.Plan{}, r.o.Target.unanswered(err)
	}
	p := ui.PlanOf(got)
	// A run's JSON is its events.
	shown := r.o.Format != JSON || r.o.Plan
	if shown {
		if err := r.s.show(r.o.Format, p, func() string { return p.Text(style(r.s.Out)) }); err != nil {
			return p, err
		}
	}
	switch {
	case p.Refused != "" && shown:
		return p, silent(refusalCode(p.RefusedKind))
	case p.Refused != "":
		return p, exitf(refusalCode(p.RefusedKind), "refused: %s", p.Refused)
	}
	return p, nil
}

func refusalCode(kind string) int {
	switch kind {
	case "unsafe":
		return ExitRefused
	case "locked":
		return ExitLocked
	}
	return ExitFailed
}

// start makes the agent begin. Where it dies before it has answered, whether it
// began is found out from it when it is back.
func (r *recoverer) start(ctx context.Context, what *agentpb.PlanRecoveryRequest, p ui.Plan) (*agentpb.Recovery, error) {
	rec, err := r.agent.RunRecovery(ctx, &agentpb.RunRecoveryRequest{What: what, PlanId: p.ID, ConfirmCluster: r.o.Confirm, AcceptRisks: r.o.Accept})
	if err == nil || ctx.Err() != nil || !silentAgent(err) {
		return rec, err
	}
	r.s.say("the agent went away before it had answered: looking whether it began")
	open, ierr := r.openRecovery(ctx)
	switch {
	case ierr != nil:
		return nil, fmt.Errorf("whether the recovery began is not known (%s); look with `ceo status` when the agent is back: %w", cause(err), ierr)
	case open == nil:
		return nil, errors.New("the agent went away before the recovery began: nothing was changed; run the command again")
	}
	return open, nil
}

// openRecovery waits for the agent and asks what it coordinates; nil for none.
func (r *recoverer) openRecovery(ctx context.Context) (*agentpb.Recovery, error) {
	ctx, cancel := context.WithTimeout(ctx, r.pace.back)
	defer cancel()
	for {
		ns, err := r.agent.Inspect(ctx, &agentpb.InspectRequest{Quick: true})
		if err == nil {
			return ns.GetRecovery(), nil
		}
		if !silentAgent(err) {
			return nil, err
		}
		if werr := pause(ctx, r.pace.retry); werr != nil {
			return nil, r.o.Target.unanswered(err)
		}
	}
}

// Resume goes on with a recovery that stopped, or watches one that runs.
func Resume(ctx context.Context, s Streams, o RecoverOptions) error {
	r, closeConn, err := newRecoverer(s, o)
	if err != nil {
		return err
	}
	defer closeConn()
	rec, err := r.agent.ResumeRecovery(ctx, &agentpb.ResumeRecoveryRequest{})
	if err != nil {
		return o.Target.unanswered(err)
	}
	if rec.GetState() == "aborted" {
		return exitf(ExitFailed, "recovery %s was aborted: there is nothing to resume; look with `ceo status`", rec.GetId())
	}
	return r.watch(ctx, rec, nil, time.Time{})
}

// Abort takes a recovery back, which is possible up to its point of no return.
func Abort(ctx context.Context, s Streams, o RecoverOptions) error {
	r, closeConn, err := newRecoverer(s, o)
	if err != nil {
		return err
	}
	defer closeConn()
	rec, err := r.agent.AbortRecovery(ctx, &agentpb.AbortRecoveryRequest{})
	if err != nil {
		return o.Target.unanswered(err)
	}
	if rec.GetState() == "done" {
		return exitf(ExitRefused, "recovery %s is done: there is nothing to abort", rec.GetId())
	}
	return r.watch(ctx, rec, nil, time.Time{})
}

// LetGo ends the wait for a node that will not come back.
func LetGo(ctx context.Context, s Streams, o RecoverOptions, node string) error {
	r, closeConn, err := newRecoverer(s, o)
	if err != nil {
		return err
	}
	defer closeConn()
	rec, err := r.agent.LetGo(ctx, &agentpb.LetGoRequest{Node: node})
	if err != nil {
		return o.Target.unanswered(err)
	}
	s.say("recovery %s does not wait for %s any more; if it comes back all the same, `ceo node install` on it makes it a member again", rec.GetId(), node)
	return r.watch(ctx, rec, nil, time.Time{})
}

// progress of something long on a terminal; nil elsewhere.
func (s Streams) progress(what string) func(done, total int64) {
	if !isTerminal(s.Err) {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		if time.Since(last) < 200*time.Millisecond && done < total {
			return
		}
		last = time.Now()
		end := ""
		if done >= total {
			end = "\n"
		}
		_, _ = fmt.Fprintf(s.Err, "\r%s: %s of %s %s", what, ui.Bytes(uint64(max(0, done))), ui.Bytes(uint64(max(0, total))), end)
	}
}

// line reads one line; it ends with ctx, though a terminal's read does not.
func (s Streams) line(ctx context.Context) (string, error) {
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		var text []byte
		b := make([]byte, 1)
		for {
			n, err := s.In.Read(b)
			if n == 1 && b[0] == '\n' {
				got <- answer{string(text), nil}
				return
			}
			text = append(text, b[:n]...)
			if err != nil {
				if errors.Is(err, io.EOF) && len(text) > 0 {
					err = nil
				}
				got <- answer{string(text), err}
				return
			}
		}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-got:
		return a.text, a.err
	}
}
