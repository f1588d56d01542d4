package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Bare brings up nodes without a cluster, with ceo's binary and image on them.
func (c *Cluster) Bare(ctx context.Context, nodes int) error {
	c.Log("lab up: %d nodes without a cluster", nodes)
	if _, err := c.Lab(ctx, "up", "--bare", "--nodes", fmt.Sprint(nodes)); err != nil {
		return err
	}
	return c.Load(ctx, "", nodes)
}

// Put writes a file on a node.
func (c *Cluster) Put(ctx context.Context, node, path, content string) error {
	file := filepath.Join(c.Scratch, "put")
	defer func() { _ = os.Remove(file) }()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return err
	}
	if _, err := c.On(ctx, node, "mkdir", "-p", filepath.Dir(path)); err != nil {
		return err
	}
	_, err := c.Lab(ctx, "cp", file, node+":"+path)
	return err
}

// Take copies a file from one node to another, as a person would with scp.
func (c *Cluster) Take(ctx context.Context, from, to, path string) error {
	res, err := c.On(ctx, from, "cat", path)
	if err != nil {
		return err
	}
	return c.Put(ctx, to, path, res.Out)
}
