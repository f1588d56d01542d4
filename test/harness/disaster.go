package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Backup is a snapshot on a node.
type Backup struct {
	Node     string
	Path     string
	Revision int64 `json:"revision"`
	Keys     int64 `json:"liveKeys"`
	SHA256   string
}

// Save takes a snapshot on a node with `ceo snapshot save`.
func (c *Cluster) Save(ctx context.Context, node, path string) (Backup, error) {
	res, err := c.Ceo(ctx, node, "snapshot", "save", path, "-o", "json")
	if err != nil {
		return Backup{}, err
	}
	b := Backup{Node: node, Path: path}
	if err := json.Unmarshal([]byte(res.Out), &b); err != nil {
		return b, fmt.Errorf("ceo snapshot save -o json: %w: %s", err, res.Out)
	}
	if b.Revision == 0 {
		return b, fmt.Errorf("ceo snapshot save -o json names no revision: %s", res.Out)
	}
	return b, nil
}

// Destroy is the disaster: the other nodes lose power, the first one its data.
func (c *Cluster) Destroy(ctx context.Context, node string, others ...string) error {
	if len(others) > 0 {
		if _, err := c.Lab(ctx, append([]string{"kill"}, others...)...); err != nil {
			return err
		}
	}
	_, err := c.Lab(ctx, "wipe", node)
	return err
}

// Consent are the flags by which a script agrees to a recovery.
func Consent(risks ...string) []string {
	args := []string{"--yes", "--confirm-cluster=" + Name}
	for _, r := range risks {
		args = append(args, "--accept-risk="+r)
	}
	return args
}

// Recover runs `ceo recover` and takes 0 and 3 (dark nodes are waited for) for
// success.
func (c *Cluster) Recover(ctx context.Context, node string, args ...string) (Result, error) {
	res, err := c.Ceo(ctx, node, append([]string{"recover"}, args...)...)
	var bad *CmdError
	if errors.As(err, &bad) && res.Code == 3 {
		return res, nil
	}
	return res, err
}

// Event is a line of a recovery's journal.
type Event struct {
	At   time.Time       `json:"at"`
	Kind string          `json:"kind"`
	Step string          `json:"step"`
	Node string          `json:"node"`
	Text string          `json:"text"`
	Data json.RawMessage `json:"data"`
}

// Journal of the newest recovery that a node coordinated, read from its disk.
func (c *Cluster) Journal(ctx context.Context, node string) ([]Event, error) {
	res, err := c.On(ctx, node, "sh", "-c", `cat "$(ls /var/lib/ceo/journal/*.jsonl | tail -n 1)"`)
	if err != nil {
		return nil, err
	}
	var out []Event
	for _, line := range strings.Split(strings.TrimSpace(res.Out), "\n") {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			continue // a line that is being written
		}
		out = append(out, e)
	}
	return out, nil
}

// Ended waits until the newest recovery of a node is over, and says how.
func (c *Cluster) Ended(ctx context.Context, node string, limit time.Duration) (string, error) {
	how := ""
	err := Until(ctx, "the end of the recovery", limit, func(ctx context.Context) error {
		es, err := c.Journal(ctx, node)
		if err != nil {
			return err
		}
		last := Event{}
		for _, e := range es {
			switch e.Kind {
			case "end":
				how = e.Text
				return nil
			case "failed":
				last = e
			case "note", "begin", "done":
				last = e
			}
		}
		return fmt.Errorf("%s %s on %s: %s", last.Kind, last.Step, last.Node, last.Text)
	})
	return how, err
}

// DoneAt is when a step was done, by the journal.
func DoneAt(es []Event, step string) (time.Time, bool) {
	for _, e := range es {
		if e.Kind == "done" && e.Step == step {
			return e.At, true
		}
	}
	return time.Time{}, false
}

// Archived lists the data dirs that a node has set aside.
func (c *Cluster) Archived(ctx context.Context, node string) ([]string, error) {
	res, err := c.On(ctx, node, "sh", "-c", "find /var/lib/etcd/.ceo/archive -mindepth 2 -maxdepth 2 -name member 2>/dev/null || true")
	if err != nil {
		return nil, err
	}
	return strings.Fields(res.Out), nil
}
