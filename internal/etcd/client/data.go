package client

import (
	"context"
	"fmt"
	"io"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Revision is the store's revision as a quorum confirms it.
func (c *Client) Revision(ctx context.Context) (int64, error) {
	// A key that cannot be there: only the header counts.
	r, err := c.c.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("read the revision at %v: %w", c.endpoints, err)
	}
	return r.Header.GetRevision(), nil
}

// DeletePrefix deletes every key below the prefix and says how many there were.
func (c *Client) DeletePrefix(ctx context.Context, prefix string) (int64, error) {
	r, err := c.c.Delete(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return 0, fmt.Errorf("delete %s*: %w", prefix, err)
	}
	return r.Deleted, nil
}

// Alarms are the raised ones, as TYPE on MEMBER in hexadecimal.
func (c *Client) Alarms(ctx context.Context) ([]string, error) {
	r, err := c.c.AlarmList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list alarms at %v: %w", c.endpoints, err)
	}
	var out []string
	for _, a := range r.Alarms {
		out = append(out, fmt.Sprintf("%s on %x", a.GetAlarm(), a.GetMemberID()))
	}
	return out, nil
}

// Snapshot streams the member's backend, with its hash behind it.
func (c *Client) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	r, err := c.c.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a snapshot from %v: %w", c.endpoints, err)
	}
	return r, nil
}
