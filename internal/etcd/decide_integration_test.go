//go:build integration

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clusteretcd.io/ceo/internal/etcd"
	"clusteretcd.io/ceo/internal/etcdtest"
)

// cluster is real etcd processes, and what an operator would see of them.
type cluster struct {
	t       *testing.T
	all     map[string]*etcdtest.Member
	wanted  []string
	goal    int64
	looked  time.Time
	actions []etcd.Kind
}

// ask asks one member by itself, briefly: it may not run.
func (c *cluster) ask(m *etcdtest.Member, linearizable bool) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	defer cancel()
	one, err := clientv3.New(clientv3.Config{Endpoints: []string{m.ClientURL}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = one.Close() }()
	if linearizable {
		if _, err := one.Get(ctx, "x"); err != nil {
			return nil, err
		}
	}
	return one.Status(ctx, m.ClientURL)
}

func (c *cluster) running() []string {
	var endpoints []string
	for _, m := range c.all {
		if m.Running() {
			endpoints = append(endpoints, m.ClientURL)
		}
	}
	return endpoints
}

func (c *cluster) client() *clientv3.Client {
	cl, err := clientv3.New(clientv3.Config{Endpoints: c.running()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func (c *cluster) view() (etcd.View, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	list, err := c.client().MemberList(ctx)
	if err != nil {
		return etcd.View{}, err
	}
	var v etcd.View
	since := time.Since(c.looked)
	goal := c.goal
	for _, x := range list.Members {
		m := etcd.Member{ID: x.ID, Name: x.Name, PeerURL: x.PeerURLs[0], Learner: x.IsLearner}
		for name, p := range c.all {
			if name != x.Name && p.PeerURL != m.PeerURL || !p.Running() {
				continue
			}
			st, err := c.ask(p, !x.IsLearner)
			if err != nil {
				m.Health = etcd.Unhealthy // the process is ours, and says so itself
				continue
			}
			m.Health, m.Applied, v.Leader = etcd.Healthy, st.RaftAppliedIndex, st.Leader
			m.CaughtUp = etcd.CaughtUp(int64(st.RaftAppliedIndex), goal, since)
			c.goal, c.looked = max(c.goal, int64(st.RaftIndex)), time.Now()
		}
		v.Members = append(v.Members, m)
	}
	for _, name := range c.wanted {
		p := c.all[name]
		n := etcd.Node{Name: name, PeerURL: p.PeerURL, Waiting: true}
		for _, m := range v.Members {
			if m.Name == name {
				n.Waiting, n.Holds = false, m.ID
			}
			if m.PeerURL == n.PeerURL {
				n.Waiting = false
			}
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v, nil
}

// settle does what is decided until nothing is left to do. What etcd refuses is
// asked for again: it wants its members to have been connected for some seconds.
func (c *cluster) settle() {
	c.t.Helper()
	c.actions = nil
	begun := map[string]bool{}
	etcdtest.Eventually(c.t, "the cluster to settle", func() (bool, string) {
		v, err := c.view()
		if err != nil {
			return false, err.Error()
		}
		a := etcd.Decide(v)
		// Counted before it is done, once: the answer to a change that was made may be lost, with a member that goes.
		if id := fmt.Sprint(a.Kind, a.Node, a.MemberID); a.Changes() && !begun[id] {
			begun[id] = true
			c.actions = append(c.actions, a.Kind)
		}
		if err := c.apply(v, a); err != nil {
			return false, string(a.Kind) + ": " + err.Error()
		}
		return a.Kind == etcd.Settled, a.Reason
	})
}

func (c *cluster) apply(v etcd.View, a etcd.Action) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	cl, err := c.client(), error(nil)
	switch a.Kind {
	case etcd.AddLearner:
		var res *clientv3.MemberAddResponse
		if res, err = cl.MemberAddAsLearner(ctx, []string{a.PeerURL}); err != nil {
			return err
		}
		var initial []string
		for _, m := range res.Members {
			name := m.Name
			if name == "" {
				name = a.Node
			}
			initial = append(initial, name+"="+m.PeerURLs[0])
		}
		c.all[a.Node].Start(c.t, "--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-state=existing")
	case etcd.Promote:
		_, err = cl.MemberPromote(ctx, a.MemberID)
	case etcd.Remove:
		_, err = cl.MemberRemove(ctx, a.MemberID)
	case etcd.UpdatePeerURL:
		_, err = cl.MemberUpdate(ctx, a.MemberID, []string{a.PeerURL})
	case etcd.MoveLeader:
		for _, p := range c.all {
			if p.Running() && p.Name == v.Label(a.MemberID) {
				_, err = p.Client(c.t).MoveLeader(ctx, a.To)
			}
		}
	}
	return err
}

// I6, P20: what is decided, a real etcd takes; and what it is held to be unsafe,
// etcd refuses as well.
func TestDecideOnRealMembers(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{Members: 3})
	c := &cluster{t: t, all: map[string]*etcdtest.Member{}, wanted: []string{"m1", "m2", "m3"}}
	for _, m := range e.Members {
		c.all[m.Name] = m
	}
	c.settle()
	if _, err := c.client().Put(etcdtest.Context(t), "x", "kept"); err != nil {
		t.Fatal(err)
	}

	// One of three is down: no learner now.
	moved := c.all["m3"]
	moved.Kill(t)
	v, err := c.view()
	if err != nil {
		t.Fatal(err)
	}
	if can := etcd.CanGrow(v); can.OK {
		t.Errorf("grows with one of three down: %s", can.Reason)
	}
	etcdtest.Eventually(t, "etcd to see that one is down", func() (bool, string) {
		res, err := c.client().MemberAddAsLearner(etcdtest.Context(t), []string{"http://127.0.0.1:1"})
		if err == nil {
			_, _ = c.client().MemberRemove(etcdtest.Context(t), res.Member.ID)
		}
		return errors.Is(err, rpctypes.ErrUnhealthy), "it adds a learner all the same"
	})

	// It comes back at another address, with its data: the same member.
	before := memberID(v, "m3")
	moved.PeerURL = "http://" + etcdtest.FreeAddr(t)
	moved.Start(t)
	c.settle()
	if v, err = c.view(); err != nil || memberID(v, "m3") != before || !slices.Equal(c.actions, []etcd.Kind{etcd.UpdatePeerURL}) {
		t.Errorf("the moved member is %x, was %x, by %v (%v)", memberID(v, "m3"), before, c.actions, err)
	}

	// Another node comes, and then it is the only one that is wanted.
	c.all["m4"] = etcdtest.NewMember(t, "m4", t.TempDir()+"/data", nil)
	c.wanted = append(c.wanted, "m4")
	c.settle()
	c.wanted = []string{"m4"}
	c.settle()
	if n := count(c.actions, etcd.Remove); n != 3 || count(c.actions, etcd.MoveLeader) != 1 {
		t.Errorf("three to be removed and one to hand over, got %v", c.actions)
	}
	res, err := c.all["m4"].Client(t).Get(etcdtest.Context(t), "x")
	if err != nil || len(res.Kvs) != 1 || string(res.Kvs[0].Value) != "kept" {
		t.Errorf("the last member has %v, %v", res, err)
	}
}

func count(kinds []etcd.Kind, kind etcd.Kind) (n int) {
	for _, k := range kinds {
		if k == kind {
			n++
		}
	}
	return n
}

func memberID(v etcd.View, name string) uint64 {
	m, _ := v.MemberOf(name)
	return m.ID
}
