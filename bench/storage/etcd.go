package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"clusteretcd.io/ceo/bench/storage/measure"
)

// etcd is a running one, on loopback.
type etcd struct {
	url    string
	begun  time.Time // just before it was started
	cmd    *exec.Cmd
	client *clientv3.Client
	log    string
	exited chan struct{}

	once   sync.Once
	stop   chan struct{}
	memory chan measure.Sample
	most   measure.Sample
}

// startEtcd runs etcd on a data dir and does not wait.
func (b *bench) startEtcd(ctx context.Context, dataDir string) (*etcd, error) {
	url, err := freeURL(ctx)
	if err != nil {
		return nil, err
	}
	peer, err := freeURL(ctx)
	if err != nil {
		return nil, err
	}
	e := &etcd{
		url: url, log: filepath.Join(b.scratch, "etcd.log"), exited: make(chan struct{}), stop: make(chan struct{}),
		memory: make(chan measure.Sample, 1),
	}
	// Made before etcd is: connecting is no part of a start. It tries again at once, as the port opens late.
	e.client, err = clientv3.New(clientv3.Config{
		Endpoints: []string{url}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1, MaxDelay: 2 * time.Millisecond}, MinConnectTimeout: waitFor,
		})},
	})
	if err != nil {
		return nil, err
	}
	log, err := os.Create(e.log)
	if err != nil {
		return nil, errors.Join(err, e.client.Close())
	}
	defer func() { _ = log.Close() }()
	e.cmd = exec.Command(b.tools.etcd, //nolint:gosec // given by the user
		"--name", memberName, "--data-dir", dataDir, "--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", memberURL, "--initial-cluster", memberName+"="+memberURL,
		"--quota-backend-bytes", "17179869184",
		// A lone member waits for a random time, with the defaults up to a second, before it elects itself. That would hide
		// any difference between two starts.
		"--heartbeat-interval", "10", "--election-timeout", "100")
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	e.begun = time.Now()
	if err := e.cmd.Start(); err != nil {
		return nil, errors.Join(err, e.client.Close())
	}
	go func() { e.memory <- measure.Watch(e.cmd.Process.Pid, e.stop) }()
	go func() {
		_ = e.cmd.Wait() // killed in the end
		close(e.exited)
	}()
	return e, nil
}

// firstPut waits for the first write that is acknowledged, and gives the revision it got.
func (e *etcd) firstPut(ctx context.Context) (measure.Sample, int64, error) {
	var rev int64
	err := e.ask(ctx, "its first write", func(ctx context.Context) error {
		r, err := e.client.Put(ctx, "/bench/first", "put")
		if err == nil {
			rev = r.Header.Revision
		}
		return err
	})
	s := measure.Sample{Seconds: time.Since(e.begun).Seconds()}
	if err != nil {
		return s, rev, err
	}
	s.CPU, err = measure.CPU(e.cmd.Process.Pid)
	m := e.peak()
	s.Peak, s.Own = m.Peak, m.Own
	return s, rev, err
}

// check that it serves what was generated.
func (e *etcd) check(ctx context.Context, revision, keys int64) error {
	return e.ask(ctx, "its keys", func(ctx context.Context) error {
		r, err := e.client.Get(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if r.Count != keys || r.Header.Revision != revision {
			return fmt.Errorf("etcd serves %d keys at revision %d, should be %d at %d", r.Count, r.Header.Revision, keys, revision)
		}
		return nil
	})
}

// ask until etcd answers; its end ends the waiting.
func (e *etcd) ask(ctx context.Context, what string, question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, waitFor)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- question(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("waited for etcd and %s: %w\n%s", what, err, e.lastWords())
		}
		return nil
	case <-e.exited:
		return fmt.Errorf("etcd ended before %s: %s\n%s", what, e.cmd.ProcessState, e.lastWords())
	}
}

// peak of its memory until now; from then on it is no longer looked at.
func (e *etcd) peak() measure.Sample {
	e.once.Do(func() {
		close(e.stop)
		e.most = <-e.memory
	})
	return e.most
}

// kill without leave: what it wrote is thrown away.
func (e *etcd) kill() {
	_ = e.client.Close()
	_ = e.peak()
	_ = e.cmd.Process.Kill() // gone already is as good
	<-e.exited
}

func (e *etcd) lastWords() string {
	data, err := os.ReadFile(e.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// freeURL of a port that nobody listens on now.
func freeURL(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "http://" + l.Addr().String(), l.Close()
}
