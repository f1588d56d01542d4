package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"clusteretcd.io/ceo/internal/node"
)

// load is several clients of all voters, each of which writes one key after the other, at a constant rate. A write that
// fails is tried again at once, as what it is: the time until its acknowledgement is what its writer waits.
type load struct {
	begun   time.Time // one monotonic clock for all
	clients []*clientv3.Client
	every   time.Duration
	value   string

	mu     sync.Mutex
	writes []write
	failed map[string]int // what clients were told
	wg     sync.WaitGroup
}

// prefix of the keys that are written; each once.
const prefix = "/bench/scale/"

func dial(p node.Paths, endpoints ...string) (*clientv3.Client, error) {
	config, err := client(p)
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: config, Logger: zap.NewNop(), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
	})
}

func (b *bench) newLoad(ctx context.Context, first *machine) (*load, error) {
	l := &load{begun: time.Now(), every: time.Second * time.Duration(b.clients) / time.Duration(b.rate), failed: map[string]int{}}
	raw := make([]byte, b.value)
	r := rand.New(rand.NewPCG(b.seed, 1)) //nolint:gosec // load, not a secret
	for i := range raw {
		raw[i] = 'a' + byte(r.IntN(26))
	}
	l.value = string(raw)
	for i := range b.clients {
		c, err := dial(first.paths, first.clientURL())
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, c)
		l.wg.Go(func() { l.client(ctx, i, c) })
	}
	return l, nil
}

// voters are whom the clients talk to from now on.
func (l *load) voters(endpoints []string) {
	for _, c := range l.clients {
		c.SetEndpoints(endpoints...)
	}
}

func (l *load) now() time.Duration { return time.Since(l.begun) }

func (l *load) client(ctx context.Context, i int, c *clientv3.Client) {
	next := l.now() + l.every*time.Duration(i)/time.Duration(max(1, len(l.clients)))
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(next - l.now()):
		}
		next = max(next+l.every, l.now()) // what a stall kept from being written is not made up for: the rate is constant
		w := write{Call: l.now()}
		key := fmt.Sprintf("%s%d/%d", prefix, i, n)
		// What was asked for is not given up because the load ends: it is counted in the end.
		for {
			put, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			_, err := c.Put(put, key, l.value)
			cancel()
			if err == nil {
				break
			}
			l.mu.Lock()
			l.failed[err.Error()]++
			l.mu.Unlock()
			if ctx.Err() != nil && l.now()-w.Call > 2*time.Minute {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		w.Ack = l.now()
		l.mu.Lock()
		l.writes = append(l.writes, w)
		l.mu.Unlock()
	}
}

// end waits for the clients, whose context has ended.
func (l *load) end() []write {
	l.wg.Wait()
	for _, c := range l.clients {
		_ = c.Close()
	}
	return l.writes
}
