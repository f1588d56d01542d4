package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"clusteretcd.io/ceo/internal/backup"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/store"
)

// backupChild does what `ceo backup create` does, with the same parts of it, of an etcd that is not a node's own: the
// verb would look for the node's certificates and members.
func backupChild(ctx context.Context, args []string) (err error) {
	c, err := backup.LoadConfig(args[0])
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{URL: c.Location, Credentials: c.Credentials})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	cli, err := etcdclient.DialBulk(args[1], nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cli.Close()) }()
	st, err := cli.Status(ctx, args[1])
	if err != nil {
		return err
	}
	snapshot, err := cli.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = snapshot.Close() }()
	m, err := backup.Create(ctx, backup.CreateParams{
		Store: s, Config: c, Snapshot: snapshot, SizeHint: st.DBSize, Now: time.Now, Version: "bench",
		Cluster: backup.Cluster{Name: "bench", Endpoint: args[1], EtcdVersion: st.Version},
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}
