package keep

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
)

// stallLimit is how long etcd may send nothing of a snapshot.
const stallLimit = 30 * time.Second

// errStalled: etcd stopped sending.
var errStalled = errors.New("etcd has stopped sending the snapshot")

// source is a snapshot on its way from a member.
type source struct {
	io.Reader
	member Member
	why    string
	// kubeadm is kubeadm's ClusterConfiguration, nil where there is none.
	kubeadm []byte
	// missing says why kubeadm is nil, if it should not be.
	missing error
	close   func()
}

// open chooses a member and begins its snapshot.
func open(ctx context.Context, c node.Config, local string, t *tls.Config) (*source, error) {
	m, why, err := Choose(members(ctx, c, local, t))
	if err != nil {
		return nil, err
	}
	cli, err := etcdclient.DialBulk(m.Endpoint, t)
	if err != nil {
		return nil, err
	}
	s := &source{member: m, why: why}
	ask, cancelAsk := context.WithTimeout(ctx, answerLimit)
	stored, err := cli.Value(ask, kubeadmConfigKey)
	cancelAsk()
	if err == nil {
		s.kubeadm, err = kubeadmConfig(stored)
	}
	s.missing = err
	// Cancelled at the end: after a failed write the member must not go on sending.
	ctx, cancel := context.WithCancelCause(ctx)
	body, err := cli.Snapshot(ctx)
	if err != nil {
		cancel(nil)
		return nil, errors.Join(err, cli.Close())
	}
	watch := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("%w: nothing for %s from %s", errStalled, stallLimit, m.Name)) })
	s.Reader = &watched{ctx: ctx, r: body, watch: watch}
	s.close = func() {
		watch.Stop()
		cancel(nil)
		_ = body.Close()
		_ = cli.Close()
	}
	return s, nil
}

// watched limits the wait for etcd in each read, and says why one failed. The time between two reads is the store's, which
// has a limit of its own.
type watched struct {
	ctx   context.Context //nolint:containedctx // one stream's
	r     io.Reader
	watch *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	w.watch.Reset(stallLimit)
	n, err := w.r.Read(p)
	// Only the wait for etcd counts.
	w.watch.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(w.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}
