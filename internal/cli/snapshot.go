package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"clusteretcd.io/ceo/internal/agent/client"
	"clusteretcd.io/ceo/internal/cli/ui"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/snapshot"
)

// SaveOptions of `ceo snapshot save`.
type SaveOptions struct {
	// Target is asked if it names an agent; else etcd is.
	Target Target
	Format Format
	File   string
	// Endpoints of etcd, tried in order; empty: this node's own.
	Endpoints []string
	// CA, Cert and Key are empty for kubeadm's health-check client's.
	CA, Cert, Key string
}

// SaveSnapshot takes a snapshot, reads it back whole and only then gives it
// its name.
func SaveSnapshot(ctx context.Context, s Streams, o SaveOptions) error {
	path, err := filepath.Abs(o.File)
	if err != nil {
		return fmt.Errorf("%s: %w", o.File, err)
	}
	var info snapshot.Info
	if o.Target.local() {
		info, err = saveFromEtcd(ctx, s, o, path)
	} else {
		info, err = saveFromAgent(ctx, o.Target, path)
	}
	if err != nil {
		return err
	}
	return s.show(o.Format, info, func() string { return ui.Snapshot(info, true, style(s.Out)) })
}

func saveFromEtcd(ctx context.Context, s Streams, o SaveOptions, path string) (snapshot.Info, error) {
	config, err := etcdTLS(o)
	if err != nil {
		return snapshot.Info{}, err
	}
	endpoints := o.Endpoints
	if len(endpoints) == 0 {
		endpoints = []string{localClientURL}
	}
	return snapshot.Save(ctx, snapshot.Config{Endpoints: endpoints, TLS: config}, path, s.progress("taking the snapshot"))
}

func etcdTLS(o SaveOptions) (*tls.Config, error) {
	if o.CA == "" && o.Cert == "" && o.Key == "" {
		return etcdclient.HealthcheckTLS(o.Target.Paths.EtcdPKI())
	}
	if o.CA == "" || o.Cert == "" || o.Key == "" {
		return nil, errors.New("--cacert, --cert and --key go together")
	}
	pem, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, fmt.Errorf("--cacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--cacert: no certificate in %s", o.CA)
	}
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("--cert and --key: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// saveFromAgent is for a laptop, which etcd would not let in.
func saveFromAgent(ctx context.Context, t Target, path string) (_ snapshot.Info, err error) {
	conn, a, err := t.connect()
	if err != nil {
		return snapshot.Info{}, err
	}
	defer func() { _ = conn.Close() }()
	part, err := snapshot.Receive(path)
	if err != nil {
		return snapshot.Info{}, fmt.Errorf("save snapshot: %w", err)
	}
	defer func() { err = errors.Join(err, part.Abort()) }()
	if _, err := client.TakeSnapshot(ctx, a, part); err != nil {
		return snapshot.Info{}, t.unanswered(err)
	}
	info, err := snapshot.Verify(ctx, part.PartPath(), snapshot.VerifyOptions{})
	if err != nil {
		return snapshot.Info{}, err
	}
	if err := part.Commit(info.SHA256, info.Size); err != nil {
		return snapshot.Info{}, err
	}
	info.Path = path
	return info, nil
}

// InspectSnapshot shows what a file says of itself, which proves nothing.
func InspectSnapshot(s Streams, f Format, path string) error {
	info, err := snapshot.Inspect(path)
	if err != nil {
		return err
	}
	return s.show(f, info, func() string { return ui.Snapshot(info, false, style(s.Out)) })
}

// VerifySnapshot reads a file whole.
func VerifySnapshot(ctx context.Context, s Streams, f Format, path string, skipHash bool) error {
	info, err := snapshot.Verify(ctx, path, snapshot.VerifyOptions{SkipHash: skipHash})
	if err != nil {
		return fmt.Errorf("%w; %s", err, whatNow(err))
	}
	return s.show(f, info, func() string { return ui.Snapshot(info, true, style(s.Out)) })
}
