// Package progress tells a person what the lab is doing and for how long it has been at it.
//
// Nothing in the lab waits without a bound and without saying what it waits for: Wait and Run are the only two ways to do so.
package progress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// heartbeat is how often a step that is still running says so.
const heartbeat = 15 * time.Second

// Reporter prints lines with the time since it was made. It is safe for use by several goroutines.
type Reporter struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

// New makes a reporter that writes to w and counts from now.
func New(w io.Writer) *Reporter { return &Reporter{w: w, start: time.Now()} }

// Elapsed is the time since the reporter was made.
func (r *Reporter) Elapsed() time.Duration { return time.Since(r.start) }

// Say prints one line.
func (r *Reporter) Say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.w, "[%6.1fs] %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

// Wait polls until ready says so, and fails when limit is over. ready returns what it saw last, which ends up in the error: a person who reads
// "gave up" must also read why.
func (r *Reporter) Wait(ctx context.Context, what string, limit time.Duration, ready func(context.Context) (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	began, said := time.Now(), time.Now()
	for {
		ok, saw := ready(ctx)
		if ok {
			return nil
		}
		if time.Since(said) > heartbeat {
			r.Say("still waiting for %s (%s): %s", what, time.Since(began).Round(time.Second), saw)
			said = time.Now()
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("waited %s for %s: %s", limit, what, saw)
			}
			return fmt.Errorf("waiting for %s was interrupted: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// Step describes a command that is run with its output in a file.
type Step struct {
	What  string        // for people: "kubeadm init on cp-1"
	Limit time.Duration // after this the command is killed
	Log   string        // file that receives stdout and stderr (appended)
	// Note, if set, turns the log written so far into a few words for the heartbeat. The last line is used otherwise.
	Note func(log []byte) string
}

// Run runs cmd to its end with a heartbeat, and puts the last lines of its log into the error.
func (r *Reporter) Run(ctx context.Context, s Step, argv []string, adjust func(*exec.Cmd)) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("%s: open its log: %w", s.What, err)
	}
	defer func() { _ = log.Close() }()
	from := int64(0)
	if st, err := log.Stat(); err == nil {
		from = st.Size()
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the lab runs commands: that is its job
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 5 * time.Second
	if adjust != nil {
		adjust(cmd)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: start: %w", s.What, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				err = fmt.Errorf("ended after %s: %w", time.Since(began).Round(time.Second), ctx.Err())
			}
			return fmt.Errorf("%s: %w\n--- last lines of %s\n%s", s.What, err, s.Log, Tail(readFrom(s.Log, from), 20))
		case <-tick.C:
			out := readFrom(s.Log, from)
			note := Tail(out, 1)
			if s.Note != nil {
				note = s.Note(out)
			}
			r.Say("still at %s (%s): %s", s.What, time.Since(began).Round(time.Second), note)
		}
	}
}

func readFrom(path string, offset int64) []byte {
	f, err := os.Open(path) //nolint:gosec // the lab's own log
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	b, _ := io.ReadAll(io.NewSectionReader(f, offset, 64<<20))
	return b
}

// Tail returns the last n lines that are not empty.
func Tail(log []byte, n int) string {
	lines := strings.Split(string(bytes.TrimSpace(log)), "\n")
	kept := make([]string, 0, n)
	for i := len(lines) - 1; i >= 0 && len(kept) < n; i-- {
		if strings.TrimSpace(lines[i]) != "" {
			kept = append(kept, lines[i])
		}
	}
	for i, j := 0, len(kept)-1; i < j; i, j = i+1, j-1 {
		kept[i], kept[j] = kept[j], kept[i]
	}
	return strings.Join(kept, "\n")
}

// TailFile returns the last n lines of a file, or says that there is none.
func TailFile(path string, n int) string {
	st, err := os.Stat(path)
	if err != nil {
		return "(no " + path + ")"
	}
	return Tail(readFrom(path, max(0, st.Size()-64<<10)), n)
}
