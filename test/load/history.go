package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"clusteretcd.io/ceo/test/harness"
)

// recorder runs clients straight against etcd's members, and records what each asked for and was told.
type recorder struct {
	endpoints []string
	prefix    string
	clients   int
	keys      int
	every     time.Duration
	timeout   time.Duration

	begun time.Time // one monotonic clock for all
	mu    sync.Mutex
	out   *json.Encoder
	// last is the value that each key was seen with last: what a CAS bets on.
	last map[string]string
}

// credentials reads ca.crt, client.crt and client.key.
func credentials(dir string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(dir, "ca.crt"))
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// record runs until ctx ends. What is under way then is brought to its end, every key is read through every member once
// more, and the record is closed with a line that says so.
func (r *recorder) record(ctx context.Context, certs, out string) error {
	config, err := credentials(certs)
	if err != nil {
		return fmt.Errorf("certificates for etcd: %w", err)
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r.out, r.begun, r.last = json.NewEncoder(f), time.Now(), map[string]string{}
	var wg sync.WaitGroup
	errs := make(chan error, r.clients)
	for i := range r.clients {
		c, err := dial(r.endpoints[i%len(r.endpoints)], config)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		wg.Go(func() { errs <- r.client(ctx, i, c) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	for i, endpoint := range r.endpoints {
		if err := r.readAll(r.clients+i, endpoint, config); err != nil {
			return fmt.Errorf("the last reads through %s: %w", endpoint, err)
		}
	}
	return r.write(harness.Op{Kind: harness.End})
}

// dial makes a client of one member alone: what it is told is that member's word.
func dial(endpoint string, config *tls.Config) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, TLS: config, Logger: zap.NewNop(),
		DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 3 * time.Second, MaxUnaryRetries: 1,
	})
}

func (r *recorder) client(ctx context.Context, i int, c *clientv3.Client) error {
	for n := 0; ctx.Err() == nil; n++ {
		o := harness.Op{Client: i, Member: c.Endpoints()[0], Key: fmt.Sprintf("%skey-%d", r.prefix, rand.IntN(r.keys))} //nolint:gosec // load, not a secret
		switch rand.IntN(4) {                                                                                           //nolint:gosec // load, not a secret
		case 0:
			o.Kind = harness.Put
		case 1:
			o.Kind, o.Expect = harness.CAS, r.seen(o.Key)
		default:
			o.Kind = harness.Get
		}
		if o.Kind != harness.Get {
			o.Value = fmt.Sprintf("%d.%d", i, n)
		}
		if _, err := r.do(c, o); err != nil {
			return err
		}
		pause(ctx, r.every)
	}
	return nil
}

// readAll reads every key, linearizably.
func (r *recorder) readAll(client int, endpoint string, config *tls.Config) error {
	c, err := dial(endpoint, config)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for k := range r.keys {
		o := harness.Op{Client: client, Member: endpoint, Kind: harness.Get, Key: fmt.Sprintf("%skey-%d", r.prefix, k)}
		answer, err := r.do(c, o)
		if err != nil {
			return err
		}
		if answer.Outcome != harness.Done {
			return errors.New(answer.Error)
		}
	}
	return nil
}

// do asks, waits for the answer and records it. Its context is its own: what was asked for is not given up because the
// recorder ends.
func (r *recorder) do(c *clientv3.Client, o harness.Op) (harness.Op, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	o.Outcome = harness.Done
	o.Call = time.Since(r.begun).Nanoseconds()
	var err error
	switch o.Kind {
	case harness.Put:
		_, err = c.Put(ctx, o.Key, o.Value)
	case harness.Get:
		var res *clientv3.GetResponse
		if res, err = c.Get(ctx, o.Key); err == nil && len(res.Kvs) > 0 {
			o.Found = string(res.Kvs[0].Value)
		}
	case harness.CAS:
		err = compareAndSwap(ctx, c, &o)
	}
	o.Return = time.Since(r.begun).Nanoseconds()
	if err != nil {
		o.Outcome, o.Error = harness.Unknown, err.Error()
	}
	return o, r.write(o)
}

func compareAndSwap(ctx context.Context, c *clientv3.Client, o *harness.Op) error {
	holds := clientv3.Compare(clientv3.Value(o.Key), "=", o.Expect)
	if o.Expect == "" {
		holds = clientv3.Compare(clientv3.CreateRevision(o.Key), "=", 0)
	}
	res, err := c.Txn(ctx).If(holds).Then(clientv3.OpPut(o.Key, o.Value)).Else(clientv3.OpGet(o.Key)).Commit()
	if err != nil || res.Succeeded {
		return err
	}
	o.Outcome = harness.Refused
	if kvs := res.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
		o.Found = string(kvs[0].GetValue())
	}
	return nil
}

func (r *recorder) write(o harness.Op) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case o.Outcome == harness.Unknown, o.Kind == harness.End:
	case o.Kind == harness.Get, o.Outcome == harness.Refused:
		r.last[o.Key] = o.Found
	default:
		r.last[o.Key] = o.Value
	}
	return r.out.Encode(o)
}

func (r *recorder) seen(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[key]
}

// split is a list of endpoints as a flag has it.
func split(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' })
}
