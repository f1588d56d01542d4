package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Ack is one acknowledged write, as test/load records it.
type Ack struct {
	N               int       `json:"n"`
	Name            string    `json:"name"`
	Content         string    `json:"content"`
	ResourceVersion int64     `json:"rv"`
	At              time.Time `json:"at"`
}

// Load is a running writer or watcher.
type Load struct {
	cmd  *exec.Cmd
	File string
	done chan error
	err  *bytes.Buffer
}

func (c *Cluster) start(ctx context.Context, file string, args ...string) (*Load, error) {
	cmd := exec.CommandContext(ctx, c.bin("lab"), append([]string{"netns-exec", "--"}, args...)...) //nolint:gosec // the project's own programs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	l := &Load{cmd: cmd, File: file, done: make(chan error, 1), err: &bytes.Buffer{}}
	cmd.Stderr = l.err
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { l.done <- cmd.Wait() }()
	return l, nil
}

// Stop ends it and waits.
func (l *Load) Stop() error {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-l.done:
		var exit *exec.ExitError
		if err == nil || errors.As(err, &exit) && (exit.ExitCode() == -1 || exit.ExitCode() == 143 || exit.ExitCode() == 0) {
			return nil
		}
		return fmt.Errorf("%w: %s", err, tail(l.err.String()))
	case <-time.After(15 * time.Second):
		return errors.Join(errors.New("it did not end in 15s"), l.cmd.Process.Kill())
	}
}

func (c *Cluster) kubeconfig(ctx context.Context) (string, error) {
	res, err := c.Lab(ctx, "kubeconfig")
	return strings.TrimSpace(res.Out), err
}

// Write starts the writer of a run; each run's objects have its name.
func (c *Cluster) Write(ctx context.Context, run string, flags ...string) (*Load, error) {
	k, err := c.kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.Scratch, "acks-"+run+".jsonl")
	return c.start(ctx, file, append([]string{c.bin("load"), "write", "--kubeconfig", k, "--out", file, "--run", run, "--namespace", Namespace}, flags...)...)
}

// Watch starts an informer that writes what it believes.
func (c *Cluster) Watch(ctx context.Context) (*Load, error) {
	k, err := c.kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.Scratch, "informer.json")
	return c.start(ctx, file, c.bin("load"), "watch", "--kubeconfig", k, "--out", file, "--namespace", Namespace)
}

// KubectlWatch starts a `kubectl get --watch` whose output goes to a file.
func (c *Cluster) KubectlWatch(ctx context.Context) (*Load, error) {
	file := filepath.Join(c.Scratch, "kubectl-watch.txt")
	return c.start(ctx, file, "sh", "-c", fmt.Sprintf("exec %s kubectl -n %s get configmaps --watch --output-watch-events --no-headers > %s 2>&1", c.bin("lab"), Namespace, file))
}

// Acks so far of a writer. A line that is being written is not one yet.
func (l *Load) Acks() ([]Ack, error) {
	raw, err := os.ReadFile(l.File)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseAcks(raw)
}

func parseAcks(raw []byte) ([]Ack, error) {
	var out []Ack
	r := bufio.NewReader(bytes.NewReader(raw))
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return out, nil //nolint:nilerr // the end, or a line that is not whole yet
		}
		var a Ack
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, fmt.Errorf("record of acknowledged writes: %w", err)
		}
		out = append(out, a)
	}
}

// UntilAcked waits until the writer has at least n acknowledged writes.
func (l *Load) UntilAcked(ctx context.Context, n int, limit time.Duration) error {
	return Until(ctx, fmt.Sprintf("%d acknowledged writes", n), limit, func(context.Context) error {
		a, err := l.Acks()
		if err == nil && len(a) < n {
			err = fmt.Errorf("%d so far: %s", len(a), tail(l.err.String()))
		}
		return err
	})
}

// Believes is what an informer's store holds.
func (l *Load) Believes() (map[string]Ack, error) {
	raw, err := os.ReadFile(l.File)
	if err != nil {
		return nil, err
	}
	var items []Ack
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, err
	}
	return byName(items), nil
}

func byName(as []Ack) map[string]Ack {
	m := make(map[string]Ack, len(as))
	for _, a := range as {
		m[a.Name] = a
	}
	return m
}

// Objects is what the API has now.
func (c *Cluster) Objects(ctx context.Context) (map[string]Ack, error) {
	k, err := c.kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	res, err := c.Lab(ctx, "netns-exec", "--", c.bin("load"), "dump", "--kubeconfig", k, "--namespace", Namespace)
	if err != nil {
		return nil, err
	}
	as, err := parseAcks([]byte(res.Out))
	return byName(as), err
}

// Compare proves a restore from a backup at a revision: everything that was
// acknowledged up to it is there with its content, and nothing from after it
// (I10).
func Compare(acks []Ack, have map[string]Ack, revision int64) error {
	var problems []string
	for _, a := range acks {
		got, there := have[a.Name]
		switch {
		case a.ResourceVersion <= revision && !there:
			problems = append(problems, fmt.Sprintf("%s, acknowledged at revision %d, is lost", a.Name, a.ResourceVersion))
		case a.ResourceVersion <= revision && got.Content != a.Content:
			problems = append(problems, fmt.Sprintf("%s has another content", a.Name))
		case a.ResourceVersion > revision && there:
			problems = append(problems, fmt.Sprintf("%s of revision %d is there, and the backup is of %d", a.Name, a.ResourceVersion, revision))
		}
	}
	if len(problems) > 5 {
		problems = append(problems[:5], fmt.Sprintf("and %d more", len(problems)-5))
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}
