package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	"clusteretcd.io/ceo/internal/etcd"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/node"
)

// localClientURL and localMetricsURL are where kubeadm's etcd always listens
// for its own node.
const (
	localClientURL  = "https://127.0.0.1:2379"
	localMetricsURL = "http://127.0.0.1:2381/metrics"
)

// ownURL is one of the above at the address where this node's etcd is; "" is its loopback.
func ownURL(local, own string) string {
	if own == "" {
		return local
	}
	return strings.Replace(local, "127.0.0.1", own, 1)
}

// ownEtcd is this node's own etcd. The connection is made anew after a failure:
// etcd is stopped, swapped and started under the agent, its certificates are
// rotated, and a connection in its back-off would find it only minutes later.
type ownEtcd struct {
	pki     string
	url     string // of its clients
	metrics string
	mu      sync.Mutex
	c       *etcdclient.Client
}

func newOwnEtcd(pki, own string) *ownEtcd {
	return &ownEtcd{pki: pki, url: ownURL(localClientURL, own), metrics: ownURL(localMetricsURL, own)}
}

// try is how long a look at the own etcd may take: it is on this machine.
const try = 2 * time.Second

func (e *ownEtcd) client(ctx context.Context) (*etcdclient.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.c != nil {
		return e.c, nil
	}
	u, err := url.Parse(e.url)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: try}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("etcd does not listen: %w", err)
	}
	_ = conn.Close()
	tls, err := etcdclient.HealthcheckTLS(e.pki)
	if err != nil {
		return nil, err
	}
	e.c, err = etcdclient.Dial([]string{e.url}, tls)
	return e.c, err
}

func (e *ownEtcd) drop(c *etcdclient.Client) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.c == c && c != nil {
		_ = c.Close()
		e.c = nil
	}
}

// Close ends the connection.
func (e *ownEtcd) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.c == nil {
		return nil
	}
	err := e.c.Close()
	e.c = nil
	return err
}

func use[T any](ctx context.Context, e *ownEtcd, limit time.Duration, f func(context.Context, *etcdclient.Client) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := e.client(ctx)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := f(ctx, c)
	if err != nil {
		e.drop(c)
	}
	return v, err
}

// Members implements engine.Cluster.
func (e *ownEtcd) Members(ctx context.Context) (string, []etcd.Member, error) {
	m, err := use(ctx, e, try, func(ctx context.Context, c *etcdclient.Client) (etcdclient.Membership, error) { return c.Members(ctx) })
	if err != nil {
		return "", nil, err
	}
	return node.FormatID(m.ClusterID), m.Pure(), nil
}

// Revision implements engine.Cluster.
func (e *ownEtcd) Revision(ctx context.Context) (int64, error) {
	return use(ctx, e, try, func(ctx context.Context, c *etcdclient.Client) (int64, error) { return c.Revision(ctx) })
}

// change is how long a change of the membership or a deletion may take.
const change = 10 * time.Second

// DeletePrefix implements engine.Cluster.
func (e *ownEtcd) DeletePrefix(ctx context.Context, prefix string) (int64, error) {
	return use(ctx, e, change, func(ctx context.Context, c *etcdclient.Client) (int64, error) { return c.DeletePrefix(ctx, prefix) })
}

// state is what this node's etcd answers, each part by itself: a part that
// fails leaves the others.
func (e *ownEtcd) state(ctx context.Context) *agentpb.Etcd {
	out := &agentpb.Etcd{}
	st, err := use(ctx, e, try, func(ctx context.Context, c *etcdclient.Client) (etcdclient.Status, error) {
		return c.Status(ctx, e.url)
	})
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Answers, out.HasLeader, out.Learner = true, st.Leader != 0, st.Learner
	out.MemberId, out.ClusterId, out.LeaderId = node.FormatID(st.MemberID), node.FormatID(st.ClusterID), node.FormatID(st.Leader)
	out.Version, out.DbSize, out.DbInUse = st.Version, st.DBSize, st.DBInUse
	out.RaftIndex, out.RaftAppliedIndex, out.RaftTerm, out.Revision = st.RaftIndex, st.AppliedIndex, st.RaftTerm, st.Revision
	out.Alarms = st.Errors
	m, err := use(ctx, e, try, func(ctx context.Context, c *etcdclient.Client) (etcdclient.Membership, error) {
		if st.Leader != 0 && !st.Learner {
			if m, err := c.Members(ctx); err == nil {
				return m, nil
			}
		}
		return c.OwnMembers(ctx)
	})
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.MembersLinearizable = m.Linearizable
	for _, x := range m.Members {
		out.Members = append(out.Members, &agentpb.Member{Id: node.FormatID(x.ID), Name: x.Name, PeerUrls: x.PeerURLs, ClientUrls: x.ClientURLs, Learner: x.Learner})
	}
	return out
}

const (
	revisionMetric = "etcd_debugging_mvcc_current_revision"
	leaderMetric   = "etcd_server_has_leader"
	quotaMetric    = "etcd_server_quota_backend_bytes"
	defragMetric   = "etcd_disk_defrag_inflight"
)

// metrics adds what the member has applied, whether it has a leader, its quota
// and whether it is being defragmented. They answer from the start, while its
// client port answers only once it has published itself, which takes 7 s more
// if the first try is lost; and while it is defragmented. 0 and false where
// they do not answer.
func metrics(ctx context.Context, from string, e *agentpb.Etcd) {
	m, err := readMetrics(ctx, from, revisionMetric, leaderMetric, quotaMetric, defragMetric)
	if err != nil {
		return
	}
	e.MetricsRevision, e.MetricsHasLeader = int64(m[revisionMetric]), m[leaderMetric] == 1
	e.Quota, e.Defragmenting = int64(m[quotaMetric]), m[defragMetric] == 1
}

func readMetrics(ctx context.Context, from string, names ...string) (_ map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	out := map[string]float64{}
	s := bufio.NewScanner(io.LimitReader(res.Body, 8<<20))
	for s.Scan() {
		for _, name := range names {
			// There are thousands of lines: no string is made of those that nobody wants.
			v, ok := bytes.CutPrefix(s.Bytes(), []byte(name))
			if !ok || len(v) == 0 || v[0] != ' ' {
				continue
			}
			f, err := strconv.ParseFloat(string(v[1:]), 64)
			if err != nil {
				return nil, fmt.Errorf("metric %s: %w", name, err)
			}
			out[name] = f
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read etcd's metrics: %w", err)
	}
	return out, nil
}
