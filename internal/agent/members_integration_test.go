//go:build integration

package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clusteretcd.io/ceo/internal/agent/agentpb"
	etcdclient "clusteretcd.io/ceo/internal/etcd/client"
	"clusteretcd.io/ceo/internal/etcd/lock"
	"clusteretcd.io/ceo/internal/etcdtest"
	"clusteretcd.io/ceo/internal/node"
)

// changer makes changes through one member of a real cluster, as that member's agent does.
type changer struct {
	t        *testing.T
	cluster  *etcdtest.Cluster
	recovery string
}

func (c *changer) client(i int) *etcdclient.Client {
	c.t.Helper()
	cl, err := etcdclient.Dial([]string{c.cluster.Members[i].ClientURL}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// now is a request on the present membership, with all members healthy.
func (c *changer) now() *agentpb.ChangeMembersRequest {
	c.t.Helper()
	m, err := c.client(0).Members(etcdtest.Context(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	r := &agentpb.ChangeMembersRequest{ClusterId: node.FormatID(m.ClusterID), Reason: "a test"}
	for _, x := range m.Members {
		r.DecidedOn = append(r.DecidedOn, &agentpb.DecidedMember{Id: node.FormatID(x.ID), Learner: x.Learner, PeerUrl: x.PeerURLs[0], Health: "healthy"})
	}
	return r
}

func (c *changer) change(i int, r *agentpb.ChangeMembersRequest) (*agentpb.ChangeMembersReply, error) {
	return ChangeMembersAt(etcdtest.Context(c.t), c.client(i), c.cluster.Members[i].ClientURL, r, func() string { return c.recovery })
}

// refused wants the change refused for what the words say, and nothing changed.
func (c *changer) refused(i int, r *agentpb.ChangeMembersRequest, code codes.Code, words string) {
	c.t.Helper()
	before := c.now().GetDecidedOn()
	_, err := c.change(i, r)
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), words) {
		c.t.Errorf("%s: %v, want %s and %q", r.GetKind(), err, code, words)
	}
	if after := c.now().GetDecidedOn(); fmt.Sprint(before) != fmt.Sprint(after) {
		c.t.Errorf("the membership was %v and is %v", before, after)
	}
}

// eventually repeats what etcd refuses until its members have been connected for some seconds.
func (c *changer) eventually(i int, request func() *agentpb.ChangeMembersRequest) *agentpb.ChangeMembersReply {
	c.t.Helper()
	var out *agentpb.ChangeMembersReply
	r := request()
	etcdtest.Eventually(c.t, r.GetKind()+" to be made", func() (bool, string) {
		var err error
		out, err = c.change(i, r)
		if code := status.Code(err); err != nil && code != codes.Unavailable && code != codes.FailedPrecondition {
			c.t.Fatal(err)
		}
		return err == nil, fmt.Sprint(err)
	})
	return out
}

// leader is the index of the one that leads.
func (c *changer) leader() int {
	c.t.Helper()
	at := -1
	etcdtest.Eventually(c.t, "a leader", func() (bool, string) {
		for i, m := range c.cluster.Members {
			st, err := c.client(i).Status(etcdtest.Context(c.t), m.ClientURL)
			if err == nil && st.Leader == st.MemberID {
				at = i
				return true, ""
			}
		}
		return false, ""
	})
	return at
}

func (c *changer) id(i int) string {
	c.t.Helper()
	st, err := c.client(i).Status(etcdtest.Context(c.t), c.cluster.Members[i].ClientURL)
	if err != nil {
		c.t.Fatal(err)
	}
	return node.FormatID(st.MemberID)
}

// TestChangeMembers: whoever calls is not trusted alone. Each refusal leaves the membership as it is.
func TestChangeMembers(t *testing.T) {
	c := &changer{t: t, cluster: etcdtest.Start(t, etcdtest.Options{Members: 3})}
	with := func(f func(*agentpb.ChangeMembersRequest)) *agentpb.ChangeMembersRequest {
		r := c.now()
		f(r)
		return r
	}
	newURL := "http://" + etcdtest.FreeAddr(t)
	add := func(r *agentpb.ChangeMembersRequest) { r.Kind, r.PeerUrl = "add-learner", newURL }
	remove := func(i int) func(*agentpb.ChangeMembersRequest) {
		return func(r *agentpb.ChangeMembersRequest) { r.Kind, r.MemberId = "remove", c.id(i) }
	}

	for _, bad := range []*agentpb.ChangeMembersRequest{
		with(func(r *agentpb.ChangeMembersRequest) { r.Kind = "destroy" }),
		with(func(r *agentpb.ChangeMembersRequest) { r.Kind = "wait" }),
		with(func(r *agentpb.ChangeMembersRequest) { r.Kind = "remove" }),
		with(func(r *agentpb.ChangeMembersRequest) { r.Kind, r.MemberId = "remove", "not hexadecimal" }),
		with(func(r *agentpb.ChangeMembersRequest) { r.Kind = "add-learner" }),
		with(func(r *agentpb.ChangeMembersRequest) { add(r); r.ClusterId = "" }),
		with(func(r *agentpb.ChangeMembersRequest) { add(r); r.DecidedOn = nil }),
		with(func(r *agentpb.ChangeMembersRequest) { add(r); r.Frozen = true }),
	} {
		c.refused(0, bad, codes.InvalidArgument, "")
	}
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) { add(r); r.ClusterId = "abc" }), codes.FailedPrecondition, "decided on cluster abc")
	// I5: that another cluster's list does not have the member does not mean that it is removed.
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) { r.Kind, r.MemberId, r.ClusterId = "remove", "77", "abc" }), codes.FailedPrecondition, "cluster abc")
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) { add(r); r.DecidedOn = r.DecidedOn[:2] }), codes.FailedPrecondition, "is new")
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) { add(r); r.DecidedOn[1].Learner = true }), codes.FailedPrecondition, "votes now")
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) {
		add(r)
		r.DecidedOn = append(r.DecidedOn, &agentpb.DecidedMember{Id: "77", Health: "healthy"})
	}), codes.FailedPrecondition, "is gone")

	// P17.
	c.recovery = "r1"
	c.refused(0, with(remove(2)), codes.FailedPrecondition, "recovery r1 is open")
	c.recovery = ""

	// I6: by the caller's own health; unknown is not healthy (I23).
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) {
		remove(2)(r)
		r.DecidedOn[0].Health, r.DecidedOn[1].Health = "unknown", ""
	}), codes.FailedPrecondition, "are needed")

	// The lock: another has it, and is named.
	raw := c.cluster.Members[0].Client(t)
	held, err := lock.Acquire(etcdtest.Context(t), raw, "ceo node install on cp-9", 0, func(lock.Holder) {})
	if err != nil {
		t.Fatal(err)
	}
	c.refused(0, with(remove(2)), codes.Aborted, "ceo node install on cp-9")
	// It cannot be gone round by saying that etcd is frozen.
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) { remove(2)(r); r.Frozen = true }), codes.Unknown, "no alarm is raised")
	held.Release()

	// The leadership is handed over by the leader alone.
	l := c.leader()
	other := (l + 1) % 3
	move := with(func(r *agentpb.ChangeMembersRequest) { r.Kind, r.MemberId, r.To = "move-leader", c.id(l), c.id(other) })
	c.refused(other, move, codes.FailedPrecondition, "its node's agent has to be asked")
	c.refused(l, with(func(r *agentpb.ChangeMembersRequest) { r.Kind, r.MemberId, r.To = "move-leader", c.id(l), c.id(l) }), codes.FailedPrecondition, "no healthy voter")
	c.eventually(l, func() *agentpb.ChangeMembersRequest { return move })
	if got := c.leader(); got != other {
		t.Errorf("%d leads, want %d", got, other)
	}
	c.eventually(l, func() *agentpb.ChangeMembersRequest { return move }) // I20: made already

	// An address at which nothing listens is not taken: the member would be lost to its peers.
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) {
		r.Kind, r.MemberId, r.PeerUrl = "update-peer-url", c.id(2), newURL
	}), codes.FailedPrecondition, "nothing answers")
	c.refused(0, with(func(r *agentpb.ChangeMembersRequest) {
		r.Kind, r.MemberId, r.PeerUrl = "update-peer-url", c.id(2), c.cluster.Members[1].PeerURL
	}), codes.FailedPrecondition, "is the address of")

	t.Run("two operators at once (I7)", func(t *testing.T) {
		decided := with(add)
		second := with(func(r *agentpb.ChangeMembersRequest) {
			r.Kind, r.PeerUrl = "add-learner", "http://"+etcdtest.FreeAddr(t)
		})
		var made int
		etcdtest.Eventually(t, "one of them to add its learner", func() (bool, string) {
			var wg sync.WaitGroup
			errs := make([]error, 2)
			for i, r := range []*agentpb.ChangeMembersRequest{decided, second} {
				wg.Go(func() { _, errs[i] = c.change(i, r) })
			}
			wg.Wait()
			made = len(c.now().GetDecidedOn()) - 3
			return made > 0, fmt.Sprint(errs)
		})
		if made != 1 {
			t.Fatalf("%d learners were added", made)
		}
	})
	t.Run("add, then promote, each made twice (I20)", func(t *testing.T) {
		var learner *agentpb.DecidedMember
		for _, m := range c.now().GetDecidedOn() {
			if m.GetLearner() {
				learner = m
			}
		}
		again, err := c.change(0, with(func(r *agentpb.ChangeMembersRequest) { r.Kind, r.PeerUrl = "add-learner", learner.GetPeerUrl() }))
		if err != nil || again.GetMemberId() != learner.GetId() {
			t.Fatalf("%v %v", again, err)
		}
		m := etcdtest.NewMember(t, "m4", filepath.Join(t.TempDir(), "data"), nil)
		m.PeerURL = learner.GetPeerUrl()
		initial := "m4=" + m.PeerURL
		for _, x := range c.cluster.Members {
			initial += "," + x.Name + "=" + x.PeerURL
		}
		m.Start(t, "--initial-cluster="+initial, "--initial-cluster-state=existing")
		promote := with(func(r *agentpb.ChangeMembersRequest) { r.Kind, r.MemberId = "promote", learner.GetId() })
		c.eventually(c.leader(), func() *agentpb.ChangeMembersRequest { return promote })
		if _, err := c.change(0, promote); err != nil {
			t.Errorf("made already: %v", err)
		}
		r := c.now()
		r.Kind, r.MemberId = "remove", learner.GetId()
		c.eventually(0, func() *agentpb.ChangeMembersRequest { return r })
		if _, err := c.change(0, r); err != nil {
			t.Errorf("made already: %v", err)
		}
		if n := len(c.now().GetDecidedOn()); n != 3 {
			t.Errorf("%d members", n)
		}
	})
	t.Run("no quorum, no change (I6)", func(t *testing.T) {
		r := with(remove(2))
		c.cluster.Members[1].Kill(t)
		c.cluster.Members[2].Kill(t)
		ctx, cancel := context.WithTimeout(t.Context(), 8e9)
		defer cancel()
		if _, err := ChangeMembersAt(ctx, c.client(0), c.cluster.Members[0].ClientURL, r, func() string { return "" }); err == nil {
			t.Fatal("it was made")
		}
	})
}
