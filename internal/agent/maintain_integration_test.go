//go:build integration

package agent

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

func of(m *etcdtest.Member) maintained { return maintained{url: m.ClientURL, busy: &sync.Mutex{}} }

func (m maintained) call(t *testing.T, req *agentpb.MaintainRequest) (*agentpb.MaintainReply, error) {
	t.Helper()
	if req.GetLimitMs() == 0 {
		req.LimitMs = int64(time.Minute / time.Millisecond)
	}
	out, err := maintain(etcdtest.Context(t), req, m, m.locked("a test", req.GetFrozen()))
	if err != nil {
		err = maintainStatus(err)
	}
	return out, err
}

func (m maintained) client(t *testing.T) *etcdclient.Client {
	t.Helper()
	c, err := etcdclient.Dial([]string{m.url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (m maintained) state(t *testing.T) etcdclient.Status {
	t.Helper()
	s, err := m.client(t).Status(etcdtest.Context(t), m.url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill puts the same few keys until there is so much, or until etcd refuses.
func fill(t *testing.T, c *clientv3.Client, bytesTotal int) error {
	t.Helper()
	value := make([]byte, 1<<19)
	for i := range value {
		value[i] = byte(rand.IntN(256)) //nolint:gosec // not a secret
	}
	for n := 0; n < bytesTotal; n += len(value) {
		if _, err := c.Put(etcdtest.Context(t), fmt.Sprintf("/fill/%d", n%4), string(value)); err != nil {
			return err
		}
	}
	return nil
}

// leaderAndFollower of a cluster.
func leaderAndFollower(t *testing.T, e *etcdtest.Cluster) (leader, follower *etcdtest.Member) {
	t.Helper()
	for _, m := range e.Members {
		if s := of(m).state(t); s.Leader == s.MemberID {
			leader = m
		} else {
			follower = m
		}
	}
	if leader == nil {
		t.Fatal("no leader")
	}
	return leader, follower
}

// P26: a fragmented database is given back, the leader's only after it has handed over, and only with all healthy.
func TestDefragment(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{Members: 3})
	c := e.Client(t)
	if err := fill(t, c, 40<<20); err != nil {
		t.Fatal(err)
	}
	leader, follower := leaderAndFollower(t, e)
	st := of(follower).state(t)
	if _, err := of(follower).call(t, &agentpb.MaintainRequest{Kind: "compact", Revision: st.Revision}); err != nil {
		t.Fatal(err)
	}
	if _, err := of(follower).call(t, &agentpb.MaintainRequest{Kind: "compact", Revision: st.Revision}); err != nil {
		t.Errorf("compacted to there already: %v", err)
	}
	if _, err := of(follower).call(t, &agentpb.MaintainRequest{Kind: "compact", Revision: st.Revision + 1000}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("compacted what is to come: %v", err)
	}
	if _, err := of(leader).call(t, &agentpb.MaintainRequest{Kind: "defragment"}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "leads") {
		t.Errorf("P26: the leader was defragmented: %v", err)
	}
	// All have done their part of the compaction, whose pages are free one commit later.
	etcdtest.Eventually(t, "the pages to be free", func() (bool, string) {
		s := of(follower).state(t)
		return s.DBInUse < s.DBSize/2, fmt.Sprint(s)
	})
	got, err := of(follower).call(t, &agentpb.MaintainRequest{Kind: "defragment"})
	if err != nil {
		t.Fatal(err)
	}
	if after := of(follower).state(t).DBSize; got.GetDbSizeBefore() < 20<<20 || got.GetDbSizeAfter() > got.GetDbSizeBefore()/2 || after > got.GetDbSizeBefore()/2 {
		t.Errorf("%+v, and it says %d", got, after)
	}
	// One is frozen: it is neither dead nor healthy (I23).
	for _, m := range e.Members {
		if m != leader && m != follower {
			m.Kill(t)
		}
	}
	_, err = of(follower).call(t, &agentpb.MaintainRequest{Kind: "defragment"})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "only with all healthy") {
		t.Errorf("P26: defragmented with one down: %v", err)
	}
}

// I7: while another has the lock nothing is defragmented, and the caller is told who has it.
func TestDefragmentWaitsForTheLock(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{})
	held, err := lock.Acquire(etcdtest.Context(t), e.Client(t), "another", 0, func(lock.Holder) {})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	_, err = of(e.Members[0]).call(t, &agentpb.MaintainRequest{Kind: "defragment"})
	if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "another") {
		t.Errorf("got %v", err)
	}
}

// A defragmentation shows itself in /metrics for as long as it runs, holds the lock all that time, goes on when its
// caller goes away, and is not begun twice.
func TestDefragmentationShowsItself(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{})
	m, c := of(e.Members[0]), e.Client(t)
	block := bytes.Repeat([]byte("x"), 1<<20)
	for i := range 300 {
		if _, err := c.Put(etcdtest.Context(t), fmt.Sprintf("/live/%d", i), string(block)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(etcdtest.Context(t))
	gone := make(chan error, 1)
	req := &agentpb.MaintainRequest{Kind: "defragment", LimitMs: int64(time.Minute / time.Millisecond)}
	go func() {
		_, err := maintain(ctx, req, m, m.locked("a test", false))
		gone <- err
	}()
	inflight := func() bool {
		got, err := readMetrics(etcdtest.Context(t), e.Members[0].MetricsURL+"/metrics", defragMetric)
		return err == nil && got[defragMetric] == 1
	}
	deadline := time.Now().Add(etcdtest.WaitFor)
	for !inflight() {
		if time.Now().After(deadline) {
			t.Fatal("it was never seen")
		}
	}
	cancel()
	if err := <-gone; err == nil {
		t.Error("the caller that went away got an answer")
	}
	if inflight() {
		if _, err := maintain(etcdtest.Context(t), req, m, m.locked("a second", false)); status.Code(err) != codes.Aborted {
			t.Errorf("begun twice: %v", err)
		}
	}
	etcdtest.Eventually(t, "its end", func() (bool, string) { return !inflight(), "" })
	etcdtest.Eventually(t, "the lock to be free", func() (bool, string) {
		held, err := lock.Acquire(etcdtest.Context(t), c, "next", 0, func(lock.Holder) {})
		if err == nil {
			held.Release()
		}
		return err == nil, fmt.Sprint(err)
	})
}

// NOSPACE, for real: a small quota is filled until etcd refuses, and mended through the agent's code alone.
func TestNoSpace(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{Members: 3, Args: []string{"--quota-backend-bytes=20971520"}})
	c := e.Client(t)
	if err := fill(t, c, 200<<20); err == nil {
		t.Fatal("the quota was never reached")
	}
	leader, follower := leaderAndFollower(t, e)
	var raised []etcdclient.Alarm
	etcdtest.Eventually(t, "the alarm", func() (bool, string) {
		var err error
		raised, err = of(leader).client(t).Raised(etcdtest.Context(t))
		return len(raised) > 0, fmt.Sprint(raised, err)
	})
	// Nothing but the way out of the alarm.
	for _, req := range []*agentpb.MaintainRequest{{Kind: "defragment"}, {Kind: "compact", Revision: 1}} {
		if _, err := of(follower).call(t, req); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s without the lock: %v", req.GetKind(), err)
		}
	}
	if _, err := of(leader).call(t, &agentpb.MaintainRequest{Kind: "compact", Revision: of(leader).state(t).Revision, Frozen: true}); err != nil {
		t.Fatal(err)
	}
	for range e.Members {
		leader, _ = leaderAndFollower(t, e)
		for _, m := range e.Members {
			if m != leader && of(m).state(t).DBSize > 10<<20 {
				if _, err := of(m).call(t, &agentpb.MaintainRequest{Kind: "defragment", Frozen: true}); err != nil {
					t.Fatal(err)
				}
			}
		}
		s := of(leader).state(t)
		if s.DBSize < 10<<20 {
			break
		}
		for _, m := range e.Members {
			if m != leader {
				if _, err := leader.Client(t).MoveLeader(etcdtest.Context(t), of(m).state(t).MemberID); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
	}
	// Each member raises its own, some later.
	etcdtest.Eventually(t, "the alarms to be gone", func() (bool, string) {
		left, err := of(leader).client(t).Raised(etcdtest.Context(t))
		for _, a := range left {
			req := &agentpb.MaintainRequest{Kind: "disarm", Alarm: a.Kind, MemberId: node.FormatID(a.MemberID), Frozen: true}
			if _, err := of(leader).call(t, req); err != nil {
				t.Fatal(err)
			}
		}
		return err == nil && len(left) == 0, fmt.Sprint(left, err)
	})
	if _, err := c.Put(etcdtest.Context(t), "/after", "x"); err != nil {
		t.Errorf("etcd still refuses: %v", err)
	}
	if _, err := of(leader).call(t, &agentpb.MaintainRequest{Kind: "disarm", Alarm: "NOSPACE"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("disarmed without a member: %v", err)
	}
}
