package snapshot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"clusteretcd.io/ceo/internal/datadir"
)

// Config says which etcd to take a snapshot from.
type Config struct {
	Endpoints []string    // tried in order; the snapshot is of the first that answers, it needs no quorum
	TLS       *tls.Config // nil: plain
	// AnswerWithin bounds how long each endpoint has to say that it is there. Default 5 s (P21).
	AnswerWithin time.Duration
}

// Save streams a snapshot to path.part, verifies what is on disk (P14, I17) and only then gives it its name.
// progress may be nil; total is what the server said its database has, the snapshot may be a little longer or shorter.
func Save(ctx context.Context, c Config, path string, progress func(done, total int64)) (Info, error) {
	info, err := save(ctx, c, path, progress)
	if err != nil {
		return Info{}, fmt.Errorf("save snapshot: %w", err)
	}
	return info, nil
}

func save(ctx context.Context, c Config, path string, progress func(done, total int64)) (_ Info, err error) {
	part, err := Receive(path)
	if err != nil {
		return Info{}, err
	}
	defer func() { err = errors.Join(err, part.Abort()) }()

	cli, total, err := connect(ctx, c)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = cli.Close() }()
	if err := datadir.RequireSpace(filepath.Dir(path), uint64(max(total, 0))); err != nil {
		return Info{}, err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if err := stream(ctx, cli, part, total, progress); err != nil {
		return Info{}, fmt.Errorf("from %s: %w", cli.Endpoints()[0], err)
	}
	info, err := Verify(ctx, part.PartPath(), VerifyOptions{})
	if err != nil {
		return Info{}, err
	}
	// What was verified is what is on disk; that it is also what was received is a check of the disk.
	if err := part.Commit(info.SHA256, info.Size); err != nil {
		return Info{}, err
	}
	info.Path = path
	return info, nil
}

// connect finds the first endpoint that answers and how big its database is.
func connect(ctx context.Context, c Config) (*clientv3.Client, int64, error) {
	if len(c.Endpoints) == 0 {
		return nil, 0, errors.New("no endpoint given")
	}
	within := c.AnswerWithin
	if within == 0 {
		within = 5 * time.Second
	}
	var errs []error
	for _, ep := range c.Endpoints {
		if err := knock(ctx, ep, within); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ep, err))
			continue
		}
		cli, err := clientv3.New(clientv3.Config{
			Endpoints: []string{ep}, TLS: c.TLS, Logger: zap.NewNop(),
			DialOptions: []grpc.DialOption{
				// Measured: a fifth less time with larger windows, on loopback; more on a real network.
				grpc.WithInitialWindowSize(16 << 20), grpc.WithInitialConnWindowSize(16 << 20),
				grpc.WithReadBufferSize(1 << 20),
			},
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ep, err))
			continue
		}
		askCtx, cancel := context.WithTimeout(ctx, within)
		st, err := cli.Status(askCtx, ep)
		cancel()
		if err == nil {
			return cli, st.DbSize, nil
		}
		_ = cli.Close()
		errs = append(errs, fmt.Errorf("%s did not answer within %s: %w", ep, within, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, 0, errors.Join(errs...)
}

// knock tells a closed port at once; the etcd client would wait for it to open until its time is up.
func knock(ctx context.Context, endpoint string, within time.Duration) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil //nolint:nilerr // not of the form that this knows: the client may know it
	}
	d := net.Dialer{Timeout: within}
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	return conn.Close()
}

func stream(ctx context.Context, cli *clientv3.Client, w io.Writer, total int64, progress func(done, total int64)) error {
	// Cancelled on return: after a failed write (a full disk) the server must not go on sending.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := cli.SnapshotWithVersion(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Snapshot.Close() }()
	return copyContext(ctx, &meter{w: w, total: total, progress: progress}, resp.Snapshot)
}

type meter struct {
	w           io.Writer
	done, total int64
	progress    func(done, total int64)
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.done += int64(n)
	m.progress(m.done, max(m.total, m.done))
	return n, err
}
