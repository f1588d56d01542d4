package main

import (
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/test/harness"
)

// connection is a client's to one member at a time.
type connection struct {
	*recorder
	certs  string
	member int // the turn of the endpoints

	c     *clientv3.Client
	since time.Time
}

// use gives the connection, a new one where there is none or it is too old.
func (c *connection) use() (*clientv3.Client, error) {
	if c.c != nil && (c.redial == 0 || time.Since(c.since) < c.redial) {
		return c.c, nil
	}
	if err := c.close(); err != nil {
		return nil, err
	}
	config, err := credentials(c.certs)
	if err != nil {
		return nil, fmt.Errorf("certificates for etcd: %w", err)
	}
	if c.c, err = dial(c.endpoints[c.member%len(c.endpoints)], config); err != nil {
		return nil, err
	}
	c.since = time.Now()
	return c.c, nil
}

func (c *connection) close() error {
	if c.c == nil {
		return nil
	}
	err := c.c.Close()
	c.c = nil
	return err
}

// again asks the next member what failed. It is an operation of its own: whether the first try of a write happened nobody
// knows, so its value may not be written twice.
func (r *recorder) again(c *connection, o harness.Op) error {
	c.member++
	_ = c.close() // it failed
	etcd, err := c.use()
	if err != nil {
		return err
	}
	o.Member, o.Again = etcd.Endpoints()[0], true
	if o.Kind != harness.Get {
		o.Value += ".again"
	}
	if o.Kind == harness.CAS {
		o.Expect = r.seen(o.Key)
	}
	_, err = r.do(etcd, o)
	return err
}
